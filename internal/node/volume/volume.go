package volume

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Volume is a published volume.
type Volume struct {
	// ID is the kubelet's, and Dir the directory of the volume's tmpfs.
	ID, Dir string
	// Memory is what the volume takes of the budget.
	Memory *Reservation

	mu sync.Mutex
	// state is what the file beside the volume says.
	state State
	// token is the last one that the kubelet gave. After a restart it is the one beside the volume, without those for
	// Vault, until the next republish.
	token PodToken
	// stored is the token that lies beside the volume.
	stored string
	// grant is the last one of the resolver's. It lives in memory only: a new process has the volume authorised anew.
	grant []byte
	// due is the time of the next refresh; waiting means that it waits for a token instead.
	due     time.Time
	waiting bool
	// changeKeys are the resolver's names for the secrets, and changed means that one of them did since the last
	// refresh began.
	changeKeys []string
	changed    bool
	// unrecorded means that the state beside the volume lacks its last leases.
	unrecorded bool
	// stale means that the last refresh failed.
	stale bool
	// closing means that unpublish has begun: nothing may be written any more.
	closing bool
}

// New returns a volume that is being published.
func New(id, dir string, token PodToken, memory *Reservation) *Volume {
	return &Volume{ID: id, Dir: dir, token: token, Memory: memory}
}

// Recovered returns the volume of an earlier process. It takes its memory whatever the limit says, and waits for a
// token.
func Recovered(dir string, state State, budget *MemoryBudget) *Volume {
	v := New(state.VolumeID, dir, PodToken{}, budget.Take(state.Pod, mountedSize(dir, state)))
	v.state, v.waiting = state, true
	return v
}

// Format makes every verb of package fmt print the volume's name, and nothing of its token and leases.
func (v *Volume) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte("volume " + v.ID)) }

// Snapshot returns the state and the token.
func (v *Volume) Snapshot() (State, PodToken) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state, v.token
}

// Stale tells when the volume was last refreshed, and whether the last try failed.
func (v *Volume) Stale() (refreshedAt time.Time, stale bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state.RefreshedAt, v.stale
}

// SetStale notes whether the last refresh failed.
func (v *Volume) SetStale(stale bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stale = stale
}

// Close keeps refreshes from writing to the volume from now on.
func (v *Volume) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closing = true
}

// Closing tells whether the volume is being unpublished.
func (v *Volume) Closing() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.closing
}

// Recorded notes that state is what the file beside the volume says now.
func (v *Volume) Recorded(state State) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state, v.unrecorded = state, false
}

// ReplaceLeases puts fresh in place of all leases that the volume had, and tells whether the file beside the volume has
// them already. Their memory is charged: the node cannot refuse what was issued already, so whether it is full is not
// asked.
func (v *Volume) ReplaceLeases(fresh EncryptedLeases) (state State, recorded bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.unrecorded = v.unrecorded || !bytes.Equal(v.state.Leases, fresh)
	before := v.state.cost()
	v.state.Leases = fresh
	v.Memory.Charge(v.state.cost() - before)
	return v.state, !v.unrecorded
}

// TokenToStore returns the token, and whether another lies beside the volume.
func (v *Volume) TokenToStore() (token PodToken, differs bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.token, v.token.Value != v.stored
}

// TokenStored notes that a token lies beside the volume.
func (v *Volume) TokenStored(token PodToken) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stored = token.Value
}

// SetToken takes a new token, and tells whether the volume waited for one.
func (v *Volume) SetToken(token PodToken) (waited bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.token = token
	return v.waiting
}

// Grant returns what the resolver gave to be shown with the next request; nil: nothing.
func (v *Volume) Grant() []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.grant
}

// SetGrant takes the grant of a response. One without leaves the former as it is.
func (v *Volume) SetGrant(grant []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(grant) > 0 {
		v.grant = grant
	}
}

// SetDue sets the time of the next refresh and returns the delay until then: none for a volume whose secrets have
// changed.
func (v *Volume) SetDue(now time.Time, delay time.Duration) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.changed {
		delay = 0
	}
	v.due, v.waiting = now.Add(delay), false
	return delay
}

// UntilDue returns the time that is left until the next refresh.
func (v *Volume) UntilDue(now time.Time) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.due.Sub(now)
}

// StartRefresh returns what a refresh works with. Without a usable token there is none: the kubelet's next republish
// brings one within about 90 seconds.
func (v *Volume) StartRefresh(now time.Time) (state State, token PodToken, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closing || v.waiting {
		return State{}, PodToken{}, false
	}
	v.waiting, v.changed = !v.token.Usable(now), false
	return v.state, v.token, !v.waiting
}

// SetChangeKeys takes the resolver's names for the secrets of the volume.
func (v *Volume) SetChangeKeys(keys []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changeKeys = keys
}

// MarkChanged notes that the secrets with these keys changed, and tells whether the volume has one of them. A refresh
// that is under way may have come too early, so another follows it.
func (v *Volume) MarkChanged(keys []string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.waiting || !slices.ContainsFunc(v.changeKeys, func(key string) bool { return slices.Contains(keys, key) }) {
		return false
	}
	v.changed = true
	return true
}
