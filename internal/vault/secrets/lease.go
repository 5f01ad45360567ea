package secrets

import (
	"context"
	"errors"
	"net/http"
	"time"

	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// Lease is what Vault keeps of a dynamic secret: when it ends, so does the secret.
type Lease struct {
	// ID names the lease to Vault. It redacts itself.
	ID LeaseID
	// Duration that Vault gave it, from now on.
	Duration time.Duration
	// Renewable is whether Vault lets it be renewed.
	Renewable bool
}

// LeaseID is the name of a lease, which no more shows than a token does: whoever has it can end the lease.
type LeaseID struct {
	transport.Token
	// below is the way from the session's namespace of Vault to the lease's.
	below string
}

// NewLeaseID returns the ID that Reveal gave, of a lease in a namespace of Vault below the session's, by the way there;
// empty: in that itself.
func NewLeaseID(below, text string) LeaseID { return LeaseID{transport.NewToken(text), below} }

// Below is the way from the session's namespace of Vault to the lease's; empty: that itself.
func (l LeaseID) Below() string { return l.below }

const (
	// maxLeaseID bounds the ID of a lease, for it lies in the state of the volume and comes with each request. Vault's
	// are the path, which is shorter, and 24 characters.
	maxLeaseID = 2048
	// maxLeaseDuration bounds what is believed of a lease: ten years.
	maxLeaseDuration = 10 * 365 * 24 * time.Hour
)

// Operations of sys/leases.
const (
	operationRenew  = "renew"
	operationLookUp = "lookup"
	operationRevoke = "revoke"
)

// leaseDuration is what a response says, as far as a duration can hold it.
func leaseDuration(response *transport.Response) time.Duration {
	seconds := max(0, min(int64(response.LeaseDuration), int64(maxLeaseDuration/time.Second)))
	return time.Duration(seconds) * time.Second
}

// ErrLeaseGone says that Vault does not know the lease any more. It ran out, or somebody revoked it.
var ErrLeaseGone = errors.New("the lease is gone")

// RenewLease asks for the increment once more, counted from now; Vault may give less. ErrLeaseGone if the lease cannot
// be renewed, whatever the reason. Source: POST sys/leases/renew.
func RenewLease(ctx context.Context, s *session.Session, id LeaseID, increment time.Duration) (Lease, error) {
	response, err := callLease(
		ctx, s, operationRenew, id, map[string]any{"increment": int64(increment / time.Second)},
	)
	if err != nil {
		return Lease{}, err
	}
	return Lease{ID: id, Duration: leaseDuration(response), Renewable: response.Renewable}, nil
}

// LookUpLease returns what is left of a lease; ErrLeaseGone if there is none of this ID. Source: POST
// sys/leases/lookup.
func LookUpLease(ctx context.Context, s *session.Session, id LeaseID) (Lease, error) {
	response, err := callLease(ctx, s, operationLookUp, id, map[string]any{})
	if err != nil {
		return Lease{}, err
	}
	left := Lease{ID: id, Duration: transport.Seconds(response.Data["ttl"])}
	left.Renewable, _ = response.Data["renewable"].(bool)
	return left, nil
}

// RevokeLease ends a lease, and with it the secret. Vault does the latter on its own, and goes on trying if the other
// system is away. A lease that is gone is no error. Source: POST sys/leases/revoke.
func RevokeLease(ctx context.Context, s *session.Session, id LeaseID) error {
	_, err := callLease(ctx, s, operationRevoke, id, map[string]any{})
	if errors.Is(err, ErrLeaseGone) {
		return nil
	}
	return err
}

func callLease(
	ctx context.Context, s *session.Session, operation string, id LeaseID, body map[string]any,
) (response *transport.Response, err error) {
	body["lease_id"] = id.Reveal()
	err = s.Do(ctx, func(ctx context.Context, conn *session.Conn) (err error) {
		conn.LeaseServed()
		// To the lease's own namespace: Vault would lead a request there from any above it, by the ID, and wants a policy for
		// it there either way.
		there := conn.In(id.below)
		r := newRequest(there, http.MethodPost, "sys/leases/"+operation, `"update"`)
		r.Body = body
		response, err = there.Call(ctx, r)
		// That it is not known may also mean that it cannot be renewed.
		gone := err != nil && response.Is(http.StatusBadRequest) && operation != operationRenew
		if gone || err == nil && operation == operationRevoke {
			conn.LeaseEnded(id.Reveal())
		}
		return err
	})
	if err != nil && response.Is(http.StatusBadRequest) {
		return nil, ErrLeaseGone
	}
	return response, err
}
