package lease

import (
	"fmt"
	"io"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
)

const (
	// maxOverlap is how long a lease that was replaced is left to the pod at most, which may have read the former files only.
	maxOverlap = time.Hour
	// maxRetiring is how many leases a volume has beside those that are in its files, before the oldest are given back early; and
	// maxOverdue, beyond which they are left to their own end, for Vault does not take them back.
	maxRetiring = 4
	maxOverdue  = 32
)

// Volume is whose leases they are.
type Volume struct {
	// ID is the kubelet's, PodUID and Node are the API server's.
	ID      string    `json:"id"`
	PodUID  types.UID `json:"podUID"`
	PodName string    `json:"podName"`
	// Namespace of the pod.
	Namespace string `json:"namespace"`
	Node      string `json:"node"`
}

// key tells volumes apart.
func (v Volume) key() string { return string(v.PodUID) + "/" + v.ID }

// Ledger is all that was made for one volume and may still be there. It redacts itself.
type Ledger struct {
	Volume   Volume    `json:"volume"`
	Holdings []Holding `json:"holdings"`
}

// Holding is one secret that was made for a volume.
type Holding struct {
	// ID is a random name, which stands for the content.
	ID string `json:"id"`
	// Slot says which secret of a Connection it is.
	Slot string `json:"slot"`
	// Config is the VaultConfig that it was made through.
	Config    types.NamespacedName `json:"config"`
	ConfigUID types.UID            `json:"configUID"`
	// Vault is where that led: the URL and the namespace.
	Vault string `json:"vault"`
	// ServiceAccount of the pod if the VaultConfig logs in as the workload.
	ServiceAccount string `json:"serviceAccount,omitempty"`
	// LeaseID is empty if there is no lease.
	LeaseID   string `json:"leaseID,omitempty"`
	Renewable bool   `json:"renewable,omitempty"`
	// Granted is the lease's duration when it was made, which renewals ask for.
	Granted time.Duration `json:"granted,omitempty"`
	// Since is when it was made or last renewed, and Expires when it ends; zero: never.
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires,omitzero"`
	// Token is the name of the token that made it, which it ends with: at TokenExpires as was known at TokenSince; zero: never.
	Token        string    `json:"token,omitempty"`
	TokenSince   time.Time `json:"tokenSince,omitzero"`
	TokenExpires time.Time `json:"tokenExpires,omitzero"`
	// ReleaseAt is when to give back what was replaced; zero while it is in the files.
	ReleaseAt time.Time `json:"releaseAt,omitzero"`

	// due: another is wanted in its place.
	due bool
}

// Format prints whose it is and no more, for every verb.
func (l *Ledger) Format(state fmt.State, _ rune) {
	_, _ = fmt.Fprintf(state, "%d leases of volume %s", len(l.Holdings), l.Volume.ID)
}

// MarshalLog is Format, for logr.
func (l *Ledger) MarshalLog() any { return fmt.Sprint(l) }

// Format prints none of it, for every verb.
func (h Holding) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "lease [redacted]") }

// MarshalLog is Format, for logr.
func (h Holding) MarshalLog() any { return fmt.Sprint(h) }

// Made is a secret that was made for a volume just now.
type Made struct {
	ID, Slot       string
	Config         *v1alpha1.VaultConfig
	ServiceAccount string
	Issued         *secrets.Issued
}

// vaultOf says where a VaultConfig leads: a lease means nothing to another Vault, which would say that it is gone.
func vaultOf(config *v1alpha1.VaultConfig) string {
	return config.Spec.URL + " " + config.Spec.VaultNamespace
}

// Format prints none of it, for every verb.
func (m Made) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "secret [redacted]") }

// holding is what is to be known of it from now on.
func (m Made) holding(now time.Time) Holding {
	h := Holding{
		ID: m.ID, Slot: m.Slot, Config: client.ObjectKeyFromObject(m.Config), ConfigUID: m.Config.UID, Vault: vaultOf(m.Config),
		ServiceAccount: m.ServiceAccount,
		LeaseID:        m.Issued.Lease.ID.Reveal(), Renewable: m.Issued.Lease.Renewable, Granted: m.Issued.Lease.Duration,
		Since: now, Expires: m.Issued.ExpireTime,
	}
	if h.LeaseID != "" {
		h.Token, h.TokenSince, h.TokenExpires = m.Issued.Token.ID, now, m.Issued.Token.ExpireTime
		if h.Granted > 0 {
			h.Expires = now.Add(h.Granted)
		}
	}
	return h
}

// Held are the IDs of what the volume's files hold and may go on holding, by slot.
func (l *Ledger) Held() map[string]string {
	held := map[string]string{}
	for _, h := range l.Holdings {
		if h.ReleaseAt.IsZero() && !h.due {
			held[h.Slot] = h.ID
		}
	}
	return held
}

// Update brings the ledger to what the volume's files will hold: of its slots, those that are wanted, with what was made just now. What is
// replaced, or not wanted any more, stays for a while: the pod may not have seen the new files yet.
func (l *Ledger) Update(wanted []string, made []Made, now time.Time) {
	var kept, retiring []Holding
	for _, h := range l.Holdings {
		replaced := slices.ContainsFunc(made, func(m Made) bool { return m.Slot == h.Slot })
		switch {
		case h.ReleaseAt.IsZero() && !replaced && slices.Contains(wanted, h.Slot):
			kept = append(kept, h)
		case h.LeaseID == "": // nothing to give back
		case h.ReleaseAt.IsZero():
			h.ReleaseAt = now.Add(maxOverlap)
			fallthrough
		default:
			retiring = append(retiring, h)
		}
	}
	if overdue := len(retiring) - maxOverdue; overdue > 0 {
		leases.WithLabelValues(actionLeft).Add(float64(overdue))
		retiring = retiring[overdue:] // oldest first
	}
	for i := range max(len(retiring)-maxRetiring, 0) {
		if retiring[i].ReleaseAt.Sub(now) > releasePause {
			retiring[i].ReleaseAt = now
		}
	}
	for _, m := range made {
		kept = append(kept, m.holding(now))
	}
	l.Holdings = slices.Concat(retiring, kept)
}

// NextAction is when Tend has something to do; zero: never.
func (l *Ledger) NextAction() time.Time {
	var next time.Time
	for _, h := range l.Holdings {
		at := h.ReleaseAt
		if at.IsZero() {
			at = earliest(h.renewAt(), h.replaceAt())
		}
		next = earliest(next, at)
	}
	return next
}

// has tells whether a holding of this ID is in the ledger.
func (l *Ledger) has(id string) bool {
	return slices.ContainsFunc(l.Holdings, func(h Holding) bool { return h.ID == id })
}

// renewAt is when to renew the lease: at two thirds of it. Zero if it cannot be renewed.
func (h Holding) renewAt() time.Time {
	if !h.Renewable {
		return time.Time{}
	}
	return twoThirds(h.Since, h.Expires, h.ID)
}

// replaceAt is when to have another made: at two thirds of what cannot be renewed, be it the lease or the token that it ends with.
func (h Holding) replaceAt() time.Time {
	at := twoThirds(h.TokenSince, h.TokenExpires, h.ID)
	if !h.Renewable {
		at = earliest(at, twoThirds(h.Since, h.Expires, h.ID))
	}
	return at
}

// expired: Vault has ended it, if nobody else renewed it and the clocks agree. It is to be seen with Vault before anything is done.
func (h Holding) expired(now time.Time) bool {
	return passed(h.Expires, now) || passed(h.TokenExpires, now)
}

// following is the holding with what is known of its token now, which may live longer than was known.
func (h Holding) following(token session.TokenTerm, now time.Time) Holding {
	if token.ID != h.Token || h.TokenExpires.IsZero() {
		return h
	}
	if token.ExpireTime.IsZero() || token.ExpireTime.After(h.TokenExpires.Add(time.Second)) {
		h.TokenSince, h.TokenExpires = now, token.ExpireTime
	}
	return h
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
