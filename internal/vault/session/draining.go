package session

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/shares"
	"sallyport.dev/sallyport/internal/vault/transport"
)

const (
	// drainTime is how long leases can be revoked after the object that says how to log in is gone, or what it logs in
	// with: pods that are deleted together with it end within their termination grace period.
	drainTime = 10 * time.Minute
	// maxDraining bounds the logins that are kept for that, and maxDrainingOfNamespace those of one namespace's
	// objects. The leases of further ones are left to expire.
	maxDraining            = 1000
	maxDrainingOfNamespace = maxDraining / 10
)

// draining holds the last logins of sessions that had to do with leases and log in no more. Nothing but the revocation
// of leases is done with them: no renewal, no other login.
type draining struct {
	clock clock.PassiveClock

	mu     sync.Mutex
	byKey  map[drainKey]drained
	counts shares.Counts[string] // by namespace of the object
	// closed: the process ends, and nothing is kept.
	closed bool
}

// drainKey is by what leases find a login: they outlive objects, and know only their name.
type drainKey struct {
	config types.NamespacedName
	vault  string
	sessionKey
}

// sessionKey is whose identity a session has: a workload's, or that of the VaultConfig itself if it is empty. A
// VaultTask shares none with others, be they of its service account or not.
type sessionKey struct {
	namespace, serviceAccount string
	task                      types.UID
}

// drained is a session that makes requests with one login only, which is not revoked before release is called.
type drained struct {
	session *Session
	until   time.Time
	release func()
}

func newDraining(clk clock.PassiveClock) *draining {
	return &draining{
		clock: clk, byKey: map[drainKey]drained{},
		counts: shares.NewCounts[string](maxDraining, maxDrainingOfNamespace),
	}
}

// VaultOf says where a VaultConfig leads: the URL and the namespace.
func VaultOf(config *v1alpha1.VaultConfig) string {
	return config.Spec.URL + " " + config.Spec.VaultNamespace
}

func drainKeyOf(h *tokenHolder) drainKey {
	key := drainKey{config: client.ObjectKeyFromObject(h.config), vault: VaultOf(h.config)}
	if h.workload != nil {
		key.sessionKey = sessionKey{h.workload.Namespace(), h.workload.ServiceAccount(), h.workload.Task()}
	}
	return key
}

// add keeps a login that a session gives up, in place of what is kept of its former ones.
func (d *draining) add(h *tokenHolder, last *login) {
	key, now := drainKeyOf(h), d.clock.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(key)
	if d.closed || last.info.Expired(now) || !d.counts.Take(key.config.Namespace) {
		return
	}
	d.byKey[key] = drained{
		session: &Session{holder: fixedHolder(h, last), used: now}, until: now.Add(drainTime), release: last.ref.Acquire(),
	}
}

// remove drops what is kept under a key. The caller holds the lock.
func (d *draining) remove(key drainKey) {
	if kept, found := d.byKey[key]; found {
		delete(d.byKey, key)
		d.counts.Give(key.config.Namespace, 1)
		kept.release()
	}
}

// session returns what is kept under a key; nil if there is none.
func (d *draining) session(key drainKey) *Session {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept, found := d.byKey[key]
	if !found || !d.clock.Now().Before(kept.until) {
		return nil
	}
	return kept.session
}

// sweep drops what was kept for drainTime, and tells whether there was any.
func (d *draining) sweep() (dropped bool) {
	now := d.clock.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, kept := range d.byKey {
		if !now.Before(kept.until) {
			d.remove(key)
			dropped = true
		}
	}
	return dropped
}

// close drops everything, now and from now on.
func (d *draining) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for key := range d.byKey {
		d.remove(key)
	}
}

// inUse adds the transports that are needed.
func (d *draining) inUse(used map[*transport.Transport]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, kept := range d.byKey {
		kept.session.holder.inUse(used)
	}
}
