package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"sync"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/shares"
)

const (
	// maxRegistered bounds the leases whose end this process waits for to revoke their token, and
	// maxRegisteredOfNamespace those of one namespace's VaultConfigs: a tenth, so that one tenant leaves the others
	// room. At some 200 bytes each they take 4 MB. The token of a lease that finds no room is left to its own end.
	maxRegistered            = 20_000
	maxRegisteredOfNamespace = maxRegistered / 10
)

// tokenRef counts what depends on a token: the requests under way, and the leases that this process had issued with it.
// A token that was obtained by login is revoked when it is closed and nothing depends on it any more. One that its
// owner put into a Secret is never revoked.
type tokenRef struct {
	// id is a name for the token, which says nothing of it: random for one of a login, which nobody else has, and for
	// one from a Secret what every replica, now and later, calls it.
	id string

	mu     sync.Mutex
	users  int
	closed bool
	// revoke the token; nil if that is not ours to do, or was done.
	revoke func()
}

func newTokenRef() *tokenRef { return &tokenRef{id: rand.Text()} }

// Acquire says that something depends on the token, until release is called.
func (r *tokenRef) Acquire() (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users++
	return sync.OnceFunc(func() {
		r.mu.Lock()
		r.users--
		r.mu.Unlock()
		r.revokeIfUnused()
	})
}

// Close says that nothing new will depend on the token.
func (r *tokenRef) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.revokeIfUnused()
}

// revocable tells whether the token is revoked in the end, if nothing else happens to it.
func (r *tokenRef) revocable() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revoke != nil
}

// Invalidate says that the token is dead already, or is left to its own end.
func (r *tokenRef) Invalidate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revoke = nil
}

func (r *tokenRef) revokeIfUnused() {
	r.mu.Lock()
	var revoke func()
	if r.closed && r.users == 0 {
		revoke, r.revoke = r.revoke, nil
	}
	r.mu.Unlock()
	if revoke != nil {
		revoke()
	}
}

// leaseRegister holds the leases that were issued with tokens from logins and have not ended, as far as this process
// was told: each keeps its token from being revoked. It keeps digests, because IDs of leases are secret and may be
// long.
type leaseRegister struct {
	mu     sync.Mutex
	leases map[[sha256.Size]byte]registeredLease
	counts shares.Counts[string] // by namespace of the VaultConfig
}

type registeredLease struct {
	namespace string
	release   func()
}

// leaseKey tells leases apart, which may have one ID at two Vaults.
func leaseKey(config *v1alpha1.VaultConfig, lease string) [sha256.Size]byte {
	encoded, _ := json.Marshal([]string{config.Namespace, config.Name, config.Spec.URL, config.Spec.VaultNamespace, lease})
	return sha256.Sum256(encoded)
}

// add notes that a lease depends on a token.
func (r *leaseRegister) add(config *v1alpha1.VaultConfig, lease string, on *tokenRef) {
	key := leaseKey(config, lease)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leases == nil {
		r.leases = map[[sha256.Size]byte]registeredLease{}
		r.counts = shares.NewCounts[string](maxRegistered, maxRegisteredOfNamespace)
	}
	if _, known := r.leases[key]; known {
		return
	}
	if !r.counts.Take(config.Namespace) {
		on.Invalidate()
		return
	}
	r.leases[key] = registeredLease{namespace: config.Namespace, release: on.Acquire()}
}

// end notes that a lease is gone.
func (r *leaseRegister) end(config *v1alpha1.VaultConfig, lease string) {
	key := leaseKey(config, lease)
	r.mu.Lock()
	ended, known := r.leases[key]
	if known {
		delete(r.leases, key)
		r.counts.Give(ended.namespace, 1)
	}
	r.mu.Unlock()
	if known {
		ended.release()
	}
}
