package secrets

import (
	"context"
	"errors"
	"net/http"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// leasedError is the fault of a read that made a lease.
type leasedError struct{ *fault.Fault }

// Unwrap lets callers find the fault.
func (l *leasedError) Unwrap() error { return l.Fault }

// MadeLease tells whether Read failed because the secret is dynamic, with a lease: Issue is for that.
func MadeLease(err error) bool {
	var l *leasedError
	return errors.As(err, &l)
}

func leaseRefused(r transport.Request) error {
	return &leasedError{fault.Waiting(v1alpha1.ReasonInvalidRequest,
		"%s → a secret with a lease, made for each reader (%s); only a Connection that a pod mounts can have one: "+
			"use a path that answers without, such as static-creds of the database engine", r, r.Actor)}
}

// refuseLease refuses a secret that was made for this request and lives as long as its lease, to a reader who would not
// renew it. The lease is revoked, if the policy allows that; if not it runs out. The path is not read again: each read
// makes a credential at the other system.
func refuseLease(ctx context.Context, conn *session.Conn, from kvPath, r transport.Request, id string) error {
	rememberLease(conn, from)
	revocation := newRequest(conn, http.MethodPost, "sys/leases/revoke", `"update"`)
	revocation.Body = map[string]any{"lease_id": id}
	_, _ = conn.Call(ctx, revocation)
	return leaseRefused(r)
}
