package auth

import (
	"context"
	"crypto/sha256"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// Method is one way to authenticate to Vault, with the settings of one VaultConfig.
type Method interface {
	// Label is how sentences call it: the method's name as in spec.auth, and who logs in.
	Label() string
	// ReadCredential reads from Kubernetes what the method logs in with, and what tells that from another.
	ReadCredential(ctx context.Context, reader client.Reader) (Credential, error)
	// Login turns a credential into a token and says what Vault knows of it. A fault AuthFailed means that Vault does
	// not accept this credential; a RejectedError says when it may be offered again.
	Login(ctx context.Context, conn *transport.Conn, c Credential) (*LoginResult, error)
	// Remedy for a credential that Vault does not accept, for sentences.
	Remedy() string
	// IssuesToken is whether the token is made by a login, and so Sallyport's to replace and to revoke.
	IssuesToken() bool
	// Account is what Vault may lock when logins are refused: a path that names it; empty if nothing can be locked.
	Account() string
	// FurtherLogins is how often the credential of a login is good for another one, as far as Vault tells its token.
	FurtherLogins(ctx context.Context, conn *transport.Conn, made *LoginResult, c Credential) Logins
	// Namespace of Vault that the token lives in.
	Namespace() string
}

// Credential is what a method logs in with.
type Credential struct {
	Secret transport.Token
	// Fingerprint tells whether it changed, and lets a rejected credential be remembered without being kept. It stays
	// in memory.
	Fingerprint [sha256.Size]byte
	// Version is the resource version of the Secret that it was read from, which says nothing of it; empty if unknown.
	Version string
}

// NewCredential returns the credential that a secret text is.
func NewCredential(secret string) Credential {
	return Credential{Secret: transport.NewToken(secret), Fingerprint: sha256.Sum256([]byte(secret))}
}

// LoginResult is a token, and what Vault says of it.
type LoginResult struct {
	Token transport.Token
	Info  TokenInfo
	// Conn that the token is bound to; nil if any will do.
	Conn *transport.Conn
}

// RejectedError is a login that Vault answered with no.
type RejectedError struct {
	*fault.Fault
	// Counted: Vault counts it, and locks the account after a few. All others may be tried again within minutes,
	// because somebody may put it right in Vault.
	Counted bool
}

// Unwrap lets callers find the fault.
func (r *RejectedError) Unwrap() error { return r.Fault }
