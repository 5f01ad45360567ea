package vault

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// A wrapping token can be used once, and every replica of the controller has to log in. So the Secret holds one on each line,
// and each replica takes the first that still works. It goes on with what it got for as long as that line is in the Secret:
// new lines for a replica that restarted do not disturb the others, and taking a line away makes its user take another.

// unwrapped is the secret ID that a wrapping token gave.
type unwrapped struct {
	secretID token
	// line is the digest of the wrapping token, fingerprint that of the Secret's content when it was used.
	line, fingerprint [sha256.Size]byte
}

// wrappedCredential returns the wrapping tokens. While the line in use is among them, they count as unchanged.
func (m *appRoleMethod) wrappedCredential(ctx context.Context, reader client.Reader) (credential, error) {
	value, err := readSecretKey(ctx, reader, m.namespaceOfSecret, m.ref, configOf(m.as))
	if err != nil {
		return credential{}, err
	}
	lines := strings.Fields(value)
	if len(lines) == 0 {
		return credential{}, fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s is empty (%s); %s", m.source(), configOf(m.as), m.cure())
	}
	for _, line := range lines {
		if !isWord(line) {
			return credential{}, fault.Waiting(v1alpha1.ReasonInvalidSpec,
				"%s holds characters that a wrapping token cannot have (%s); put one wrapping token on each line", m.source(), configOf(m.as))
		}
	}
	c := newCredential(strings.Join(lines, "\n"))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unwrapped != nil {
		for _, line := range lines {
			if sha256.Sum256([]byte(line)) == m.unwrapped.line {
				c.fingerprint = m.unwrapped.fingerprint
			}
		}
	}
	return c, nil
}

// unwrap returns the secret ID, from memory if the line that gave it is still in the Secret.
func (m *appRoleMethod) unwrap(ctx context.Context, l *link, c credential) (token, error) {
	m.mu.Lock()
	known := m.unwrapped
	m.mu.Unlock()
	if known != nil && known.fingerprint == c.fingerprint {
		return known.secretID, nil
	}
	var foreign error
	for line := range strings.SplitSeq(c.secret.reveal(), "\n") {
		secretID, err := m.unwrapLine(ctx, l, newToken(line))
		switch {
		case fault.Is(err, v1alpha1.ReasonAuthFailed):
			foreign = err
		case err != nil:
			return token{}, err
		case secretID != nil:
			m.mu.Lock()
			m.unwrapped = &unwrapped{secretID: *secretID, line: sha256.Sum256([]byte(line)), fingerprint: c.fingerprint}
			m.mu.Unlock()
			return *secretID, nil
		}
	}
	if foreign != nil {
		return token{}, foreign
	}
	return token{}, fault.Waiting(v1alpha1.ReasonAuthFailed, "no wrapping token in %s works: each was used or has expired (%s); %s",
		m.source(), m.as, m.cure())
}

// unwrapLine returns the secret ID behind a wrapping token, nil if the token was used or has expired, and a fault AuthFailed if
// something else than a secret ID of this auth method is behind it.
func (m *appRoleMethod) unwrapLine(ctx context.Context, l *link, wrapping token) (*token, error) {
	lookup := request{
		method: http.MethodPost, path: "sys/wrapping/lookup", body: map[string]string{"token": wrapping.reveal()},
		namespace: m.vaultNamespace, as: m.as,
	}
	a, err := l.call(ctx, lookup)
	if err != nil {
		return nil, usedUp(a, err)
	}
	// Where it comes from is looked at before it is opened: somebody who put a wrapping token of their own there would have
	// Sallyport log in with a secret ID that they chose.
	from, _ := a.Data["creation_path"].(string)
	role, found := strings.CutPrefix(from, "auth/"+m.mount+"/role/")
	role, isSecretID := strings.CutSuffix(role, "/secret-id")
	if !found || !isSecretID || strings.Contains(role, "/") {
		return nil, fault.Waiting(v1alpha1.ReasonAuthFailed, "a wrapping token in %s does not come from auth/%s/role/NAME/secret-id (%s); %s",
			m.source(), m.mount, m.as, m.cure())
	}
	a, err = l.call(ctx, request{
		method: http.MethodPost, path: "sys/wrapping/unwrap", token: &wrapping, namespace: m.vaultNamespace, as: m.as,
	})
	if err != nil {
		return nil, usedUp(a, err) // another replica may have been faster
	}
	secretID, _ := a.Data["secret_id"].(string)
	if secretID == "" {
		return nil, nil
	}
	opened := newToken(secretID)
	return &opened, nil
}

// usedUp tells a wrapping token that does not work, which is nothing to be said yet, from other failures.
func usedUp(a *answer, err error) error {
	if a != nil && (a.status == http.StatusBadRequest || a.status == http.StatusForbidden || a.status == http.StatusNotFound) {
		return nil
	}
	return err
}

// forget drops a secret ID that Vault does not accept.
func (m *appRoleMethod) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unwrapped = nil
}
