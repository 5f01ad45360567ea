package auth

import (
	"context"
	"net/http"
	"strings"

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
// take another. A Connection of type VAULT, which the leading replica uses, needs one, and a further line for each time
// that another process leads.
type unwrapper struct {
	mount  loginMount
	ref    v1alpha1.SecretKeyReference
	memory secretIDMemory
}

// newUnwrapper returns what opens the wrapping tokens of a VaultConfig, or of a Connection of type VAULT.
func newUnwrapper(input Input, mount loginMount, roleID string, ref v1alpha1.SecretKeyReference) *unwrapper {
	u := &unwrapper{mount: mount, ref: ref, memory: &oneSecretID{}}
	if input.SecretIDs != nil {
		u.memory = &roleSecretIDs{
			ConnectionSecretIDs: input.SecretIDs, mount: mount.vaultNamespace + "\x00" + mount.mount,
			roleID: transport.NewToken(roleID),
		}
	}
	return u
}

func (u *unwrapper) source() string { return u.mount.source.key(u.ref) }

func (u *unwrapper) remedy() string {
	if u.mount.source.connection {
		return "put a new wrapping token into " + u.source()
	}
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
	c.Fingerprint = u.memory.fingerprint(lines, c.Fingerprint)
	return c, nil
}

// unwrap returns the secret ID, from memory if the line that gave it is still in the Secret.
func (u *unwrapper) unwrap(ctx context.Context, conn *transport.Conn, c Credential) (transport.Token, error) {
	if known := u.memory.known(c); known != nil {
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
			u.memory.keep(c, line, *secretID)
			return *secretID, nil
		}
	}
	if foreign != nil {
		return transport.Token{}, foreign
	}
	return transport.Token{}, u.usedUp(c)
}

// usedUp says that no wrapping token works, and of one that nobody but Sallyport should have used who did: that is what
// response wrapping is for.
func (u *unwrapper) usedUp(c Credential) error {
	switch {
	case u.memory.refused(c):
		return fault.Waiting(v1alpha1.ReasonAuthFailed, "Vault refused the secret ID that was wrapped in %s (%s)", u.source(), u.mount.actor).
			WithRemedy("%s, or correct %s", u.remedy(), u.mount.field("roleID"))
	case u.mount.source.connection:
		return fault.Waiting(v1alpha1.ReasonAuthFailed, "no wrapping token in %s works: each has expired or was used before, "+
			"by the controller before its last start or by somebody else (%s)", u.source(), u.mount.actor).
			WithRemedy("%s; if it was not the controller, see in Vault's audit log who unwrapped it, "+
				"and have the secret ID that was in it destroyed", u.remedy())
	}
	return fault.Waiting(v1alpha1.ReasonAuthFailed, "no wrapping token in %s works: each was used or has expired (%s)",
		u.source(), u.mount.actor).WithRemedy("%s", u.remedy())
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
