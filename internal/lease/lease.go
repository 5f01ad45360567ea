package lease

import (
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
)

// Lease is one dynamic secret of a volume, with what must be known to renew, replace and revoke it. It redacts itself.
// The names in JSON are those of the encrypted state that nodes keep, and stay as they are.
type Lease struct {
	// Name is random and stands for the content. It is not Vault's lease ID.
	Name string `json:"id"`
	// SecretKey says which secret of a Connection it is.
	SecretKey string `json:"slot"`
	// Config is the VaultConfig that it was issued through. One that is made again under this name takes the lease up
	// if it leads to the same Vault: to that the lease belongs, and not to an object in Kubernetes.
	Config types.NamespacedName `json:"config"`
	// Vault is where that led: the URL and the namespace. To another Vault the lease means nothing: it would say that
	// it is gone.
	Vault string `json:"vault"`
	// ServiceAccount of the pod if the VaultConfig logs in as the workload.
	ServiceAccount string `json:"serviceAccount,omitempty"`
	// LeaseID is Vault's; empty if the secret has no lease.
	LeaseID string `json:"leaseID,omitempty"`
	// Below is the way from the VaultConfig's namespace of Vault to the lease's; empty: that itself.
	Below     string `json:"below,omitempty"`
	Renewable bool   `json:"renewable,omitempty"`
	// Duration is the lease's when it was issued, which renewals ask for.
	Duration time.Duration `json:"granted,omitempty"`
	// Since is when it was issued or last renewed, and Expires when it ends; zero: never.
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires,omitzero"`
	// TokenID is the name of the token that it was issued with and ends with: at TokenExpires as was known at
	// TokenSince; zero: never.
	TokenID      string    `json:"token,omitempty"`
	TokenSince   time.Time `json:"tokenSince,omitzero"`
	TokenExpires time.Time `json:"tokenExpires,omitzero"`
	// RevokeAt is when to revoke what was replaced; zero while it is in the files.
	RevokeAt time.Time `json:"releaseAt,omitzero"`

	// replaceNow: another one is wanted in its place.
	replaceNow bool
}

// id is by what Vault knows the lease.
func (l Lease) id() secrets.LeaseID { return secrets.NewLeaseID(l.Below, l.LeaseID) }

// Format prints none of it, for every verb.
func (l Lease) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "lease [redacted]") }

// MarshalLog is Format, for logr.
func (l Lease) MarshalLog() any { return fmt.Sprint(l) }

// DynamicSecret is a secret that Vault issued for a volume just now. It redacts itself.
type DynamicSecret struct {
	// Name is random and stands for the content; SecretKey says which secret of a Connection it is.
	Name, SecretKey string
	Config          *v1alpha1.VaultConfig
	ServiceAccount  string
	Issued          *secrets.Issued
}

// Format prints none of it, for every verb.
func (d DynamicSecret) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, "secret [redacted]")
}

// lease is what must be known of the secret from now on.
func (d DynamicSecret) lease(now time.Time) Lease {
	l := Lease{
		Name: d.Name, SecretKey: d.SecretKey,
		Config: client.ObjectKeyFromObject(d.Config), Vault: session.VaultOf(d.Config),
		ServiceAccount: d.ServiceAccount,
		LeaseID:        d.Issued.Lease.ID.Reveal(), Below: d.Issued.Lease.ID.Below(),
		Renewable: d.Issued.Lease.Renewable, Duration: d.Issued.Lease.Duration,
		Since: now, Expires: d.Issued.ExpireTime,
	}
	if l.LeaseID != "" {
		l.TokenID, l.TokenSince, l.TokenExpires = d.Issued.Token.ID, now, d.Issued.Token.ExpireTime
		if l.Duration > 0 {
			l.Expires = now.Add(l.Duration)
		}
	}
	return l
}

// renewAt is when to renew the lease: at two thirds of it. Zero if it cannot be renewed.
func (l Lease) renewAt() time.Time {
	if !l.Renewable {
		return time.Time{}
	}
	return twoThirds(l.Since, l.Expires, l.Name)
}

// replaceAt is when to have another one issued: at two thirds of what cannot be renewed, be it the lease or the token
// that it ends with.
func (l Lease) replaceAt() time.Time {
	at := twoThirds(l.TokenSince, l.TokenExpires, l.Name)
	if !l.Renewable {
		at = earliest(at, twoThirds(l.Since, l.Expires, l.Name))
	}
	return at
}

// expired: Vault has ended it, if nobody else renewed it and the clocks agree. Vault is asked before anything is done
// about it.
func (l Lease) expired(now time.Time) bool {
	return passed(l.Expires, now) || passed(l.TokenExpires, now)
}

// withToken is the lease with what is known of its token now, which may live longer than was known.
func (l Lease) withToken(token session.TokenTerm, now time.Time) Lease {
	if token.ID != l.TokenID || l.TokenExpires.IsZero() {
		return l
	}
	if token.ExpireTime.IsZero() || token.ExpireTime.After(l.TokenExpires.Add(time.Second)) {
		l.TokenSince, l.TokenExpires = now, token.ExpireTime
	}
	return l
}

// twoThirds of the time between since and expires have passed, or a little less. Zero if it never expires.
func twoThirds(since, expires time.Time, owner string) time.Time {
	if expires.IsZero() {
		return time.Time{}
	}
	return since.Add(session.RenewAfter(expires.Sub(since), owner))
}

// earliest of the times that are not zero.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func passed(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }
