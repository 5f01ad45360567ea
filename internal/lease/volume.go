package lease

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/internal/vault/session"
)

const (
	// maxOverlap is how long a lease that was replaced is left to the pod at most, which may have read the former files
	// only.
	maxOverlap = time.Hour
	// maxReplaced is how many replaced leases a volume has beside those in its files, before the oldest are revoked
	// early; and maxUnrevoked, beyond which they are left to expire, for Vault does not take the revocations.
	maxReplaced  = 4
	maxUnrevoked = 32
	// revokePause is the pause before another attempt to revoke what was replaced.
	revokePause = time.Minute
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

// VolumeLeases are the leases of all dynamic secrets that were issued for one volume and may still be valid. They
// redact themselves.
type VolumeLeases struct {
	Volume Volume  `json:"volume"`
	Leases []Lease `json:"holdings"`
	// Files are the files that hold dynamic secrets, by path, with a digest of what went into each, and Revision is the
	// revision of which they are: the volume may have another, if the node was killed before it wrote these. Names of
	// leases go into the digests, so that they tell nothing to whoever has not this state.
	Files    map[string]string `json:"files,omitempty"`
	Revision string            `json:"revision,omitempty"`
	// Tokens are those that the leases end with, by their ID in the leases, where they may be renewed.
	Tokens map[string]Token `json:"tokens,omitempty"`
	// Routes are the ways to Vault on which the tokens were obtained, by the tokens' names for them, to revoke leases when
	// their VaultConfig is gone.
	Routes map[string]*session.Route `json:"routes,omitempty"`
}

// Format prints whose they are and no more, for every verb.
func (v *VolumeLeases) Format(state fmt.State, _ rune) {
	_, _ = fmt.Fprintf(state, "%d leases of volume %s", len(v.Leases), v.Volume.ID)
}

// MarshalLog is Format, for logr.
func (v *VolumeLeases) MarshalLog() any { return fmt.Sprint(v) }

// NamesByKey are the names of the leases that the volume's files hold and may go on holding, by secret key.
func (v *VolumeLeases) NamesByKey() map[string]string {
	names := map[string]string{}
	for _, l := range v.Leases {
		if l.RevokeAt.IsZero() && !l.replaceNow {
			names[l.SecretKey] = l.Name
		}
	}
	return names
}

// FilesOf returns the files that hold dynamic secrets, if they are those of the revision that the volume has.
func (v *VolumeLeases) FilesOf(revision string) map[string]string {
	if revision == "" || revision != v.Revision {
		return nil
	}
	return v.Files
}

// Update brings the leases to what the volume's files will hold: those of the wanted secret keys, with what was issued
// just now. What is replaced, or not wanted any more, stays for a while: the pod may not have seen the new files yet.
func (v *VolumeLeases) Update(wanted []string, issued []DynamicSecret, now time.Time) {
	var current, replaced []Lease
	for _, l := range v.Leases {
		reissued := slices.ContainsFunc(issued, func(d DynamicSecret) bool { return d.SecretKey == l.SecretKey })
		switch {
		case l.RevokeAt.IsZero() && !reissued && slices.Contains(wanted, l.SecretKey):
			current = append(current, l)
		case l.LeaseID == "": // nothing to revoke
		case l.RevokeAt.IsZero():
			l.RevokeAt = now.Add(maxOverlap)
			fallthrough
		default:
			replaced = append(replaced, l)
		}
	}
	if excess := len(replaced) - maxUnrevoked; excess > 0 {
		leases.WithLabelValues(actionLeft).Add(float64(excess))
		replaced = replaced[excess:] // oldest first
	}
	for i := range max(len(replaced)-maxReplaced, 0) {
		if replaced[i].RevokeAt.Sub(now) > revokePause {
			replaced[i].RevokeAt = now
		}
	}
	for _, d := range issued {
		current = append(current, d.lease(now))
	}
	v.Leases = slices.Concat(replaced, current)
	v.keepTokens(issued)
}

// NextAction is when Renew has something to do; zero: never.
func (v *VolumeLeases) NextAction() time.Time {
	var next time.Time
	for _, l := range v.Leases {
		at := l.RevokeAt
		if at.IsZero() {
			at = earliest(l.renewAt(), l.replaceAt())
		}
		next = earliest(next, at)
	}
	return next
}

// has tells whether a lease of this name is among them.
func (v *VolumeLeases) has(name string) bool {
	return slices.ContainsFunc(v.Leases, func(l Lease) bool { return l.Name == name })
}
