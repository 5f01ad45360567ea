package auth

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// unwrapper opens wrapping tokens to get at a secret ID.
//
// A wrapping token can be used once, and every replica of the controller has to log in. So the Secret holds one on each
// line, and each replica takes the first that still works. It goes on with what it got for as long as that line is in
// the Secret: new lines for a replica that restarted do not disturb the others, and taking a line away makes its user
// take another.
type unwrapper struct {
	mount loginMount
	ref   v1alpha1.SecretKeyReference

	mu sync.Mutex
	// opened is the secret ID that one of the wrapping tokens gave. It is nowhere else.
	opened *unwrappedSecretID
}

// unwrappedSecretID is the secret ID that a wrapping token gave.
type unwrappedSecretID struct {
	secretID transport.Token
	// line is the digest of the wrapping token, fingerprint that of the Secret's content when it was used.
	line, fingerprint [sha256.Size]byte
}

func (u *unwrapper) source() string { return u.mount.source.key(u.ref) }

func (u *unwrapper) remedy() string {
	return "put a new wrapping token for each replica of the controller into " + u.source()
}

// readCredential returns the wrapping tokens. While the line in use is among them, they count as unchanged.
func (u *unwrapper) readCredential(ctx context.Context, reader client.Reader) (Credential, error) {
	value, err := transport.ReadSecretKey(ctx, reader, u.mount.source.subject.Namespace, u.ref, u.mount.config())
	if err != nil {
		return Credential{}, err
	}
	lines := strings.Fields(value)
	if len(lines) == 0 {
		return Credential{}, fault.Waiting(
			v1alpha1.ReasonCredentialMissing, "%s is empty (%s)", u.source(), u.mount.config(),
		).
			WithRemedy("%s", u.remedy())
	}
	for _, line := range lines {
		if !isWord(line) {
			return Credential{}, fault.Waiting(v1alpha1.ReasonInvalidSpec, "%s holds characters that a wrapping token cannot have (%s)",
				u.source(), u.mount.config()).
				WithRemedy("put one wrapping token on each line")
		}
	}
	c := NewCredential(strings.Join(lines, "\n"))
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.opened != nil {
		for _, line := range lines {
			if sha256.Sum256([]byte(line)) == u.opened.line {
				c.Fingerprint = u.opened.fingerprint
			}
		}
	}
	return c, nil
}

// unwrap returns the secret ID, from memory if the line that gave it is still in the Secret.
func (u *unwrapper) unwrap(ctx context.Context, conn *transport.Conn, c Credential) (transport.Token, error) {
	if known := u.known(c); known != nil {
		return *known, nil
	}
	var foreign error
	for line := range strings.SplitSeq(c.Secret.Reveal(), "\n") {
		secretID, err := u.unwrapLine(ctx, conn, transport.NewToken(line))
		switch {
		case fault.Is(err, v1alpha1.ReasonAuthFailed):
			foreign = err
		case err != nil:
			return transport.Token{}, err
		case secretID != nil:
			u.mu.Lock()
			u.opened = &unwrappedSecretID{secretID: *secretID, line: sha256.Sum256([]byte(line)), fingerprint: c.Fingerprint}
			u.mu.Unlock()
			return *secretID, nil
		}
	}
	if foreign != nil {
		return transport.Token{}, foreign
	}
	return transport.Token{}, fault.Waiting(v1alpha1.ReasonAuthFailed, "no wrapping token in %s works: each was used or has expired (%s)",
		u.source(), u.mount.actor).WithRemedy("%s", u.remedy())
}

// known returns the secret ID that these wrapping tokens gave; nil if none did.
func (u *unwrapper) known(c Credential) *transport.Token {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.opened == nil || u.opened.fingerprint != c.Fingerprint {
		return nil
	}
	return &u.opened.secretID
}

// unwrapLine returns the secret ID behind a wrapping token, nil if the token was used or has expired, and a fault
// AuthFailed if something else than a secret ID of this auth method is behind it.
func (u *unwrapper) unwrapLine(
	ctx context.Context, conn *transport.Conn, wrapping transport.Token,
) (*transport.Token, error) {
	response, err := conn.Call(ctx, transport.Request{
		Method: http.MethodPost, Path: "sys/wrapping/lookup", Body: map[string]string{"token": wrapping.Reveal()},
		Namespace: u.mount.vaultNamespace, Actor: u.mount.actor,
	})
	if err != nil {
		return nil, unlessUsedUp(response, err)
	}
	// Where it comes from is looked at before it is opened: somebody who put a wrapping token of their own there would
	// have Sallyport log in with a secret ID that they chose.
	from, _ := response.Data["creation_path"].(string)
	role, found := strings.CutPrefix(from, "auth/"+u.mount.mount+"/role/")
	role, isSecretID := strings.CutSuffix(role, "/secret-id")
	if !found || !isSecretID || strings.Contains(role, "/") {
		return nil, fault.Waiting(v1alpha1.ReasonAuthFailed, "a wrapping token in %s does not come from auth/%s/role/NAME/secret-id (%s)",
			u.source(), u.mount.mount, u.mount.actor).WithRemedy("%s", u.remedy())
	}
	response, err = conn.Call(ctx, transport.Request{
		Method: http.MethodPost, Path: "sys/wrapping/unwrap", Token: &wrapping,
		Namespace: u.mount.vaultNamespace, Actor: u.mount.actor,
	})
	if err != nil {
		return nil, unlessUsedUp(response, err) // another replica may have been faster
	}
	secretID, _ := response.Data["secret_id"].(string)
	if secretID == "" {
		return nil, nil
	}
	opened := transport.NewToken(secretID)
	return &opened, nil
}

// unlessUsedUp tells a wrapping token that does not work, which is nothing to be said yet, from other failures.
func unlessUsedUp(response *transport.Response, err error) error {
	if response.Is(http.StatusBadRequest) || response.Is(http.StatusForbidden) || response.Is(http.StatusNotFound) {
		return nil
	}
	return err
}

// forget drops a secret ID that Vault does not accept.
func (u *unwrapper) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.opened = nil
}
