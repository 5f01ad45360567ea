package session

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// idleTime is how long a workload's session is kept that nobody uses.
const idleTime = 15 * time.Minute

// sessionSet holds the sessions of one environment by the object that says how to log in.
type sessionSet struct {
	environment *environment

	// draining are the last logins of those that are gone.
	draining *draining

	mu    sync.Mutex
	byUID map[types.UID]map[sessionKey]*Session
}

func newSessionSet(env *environment) *sessionSet {
	s := &sessionSet{environment: env, draining: newDraining(env.clock), byUID: map[types.UID]map[sessionKey]*Session{}}
	env.connChanged = s.dropUnusedTransports
	return s
}

// refusedLogin is that of the session with the object's own identity.
func (s *sessionSet) refusedLogin(uid types.UID) Refused {
	s.mu.Lock()
	session := s.byUID[uid][sessionKey{}]
	s.mu.Unlock()
	if session == nil {
		return Refused{}
	}
	return session.holder.offers.last()
}

// forget drops the sessions of an object, and those that it has with others.
func (s *sessionSet) forget(uid types.UID) {
	gone := s.take(func(of types.UID, key sessionKey, _ *Session) bool {
		return of == uid || key.task == uid && key.task != ""
	})
	for _, session := range gone {
		session.holder.close()
	}
	s.dropUnusedTransports()
}

// take removes sessions from the set, and returns them.
func (s *sessionSet) take(wanted func(of types.UID, key sessionKey, session *Session) bool) []*Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	var taken []*Session
	for uid, sessions := range s.byUID {
		for key, session := range sessions {
			if wanted(uid, key, session) {
				taken = append(taken, session)
				delete(sessions, key)
			}
		}
		if len(sessions) == 0 {
			delete(s.byUID, uid)
		}
	}
	return taken
}

// forgetAll drops all sessions, one after the other: what is under way with one still ends well. Nothing is kept of
// them.
func (s *sessionSet) forgetAll() {
	s.draining.close()
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.byUID))
	s.mu.Unlock()
	for _, uid := range all {
		s.forget(uid)
	}
}

// dropIdle drops the sessions of workloads that nobody has used for a while: their pods are gone.
func (s *sessionSet) dropIdle() {
	now := s.environment.clock.Now()
	idle := s.take(func(_ types.UID, _ sessionKey, session *Session) bool {
		return session.holder.workload != nil && session.idleSince(now) >= idleTime
	})
	for _, session := range idle {
		session.holder.close()
	}
	if s.draining.sweep() || len(idle) > 0 {
		s.dropUnusedTransports()
	}
}

// drained returns a session of an object that is gone, or cannot log in, with which its leases can still be revoked;
// nil if there is none.
func (s *sessionSet) drained(key drainKey) *Session {
	if session := s.draining.session(key); session != nil {
		return session
	}
	// Those who find objects may know sooner that one is gone than those who drop its sessions.
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sessions := range s.byUID {
		for _, session := range sessions {
			last := session.holder.current()
			if last != nil && drainKeyOf(session.holder) == key {
				return &Session{holder: fixedHolder(session.holder, last)}
			}
		}
	}
	return nil
}

// session returns the session of a VaultConfig, logged in or not.
func (s *sessionSet) session(config *v1alpha1.VaultConfig, workload *auth.Workload) (*Session, error) {
	session, former, err := s.choose(config, workload)
	for _, replaced := range former {
		if session != nil && VaultOf(config) == VaultOf(replaced.holder.config) {
			replaced.holder.mu.Lock()
			replaced.holder.servesLeases = false // its successor does
			replaced.holder.mu.Unlock()
		}
		replaced.holder.close()
	}
	return session, about(err, config)
}

// choose returns the session to use, and those that it replaced.
func (s *sessionSet) choose(config *v1alpha1.VaultConfig, workload *auth.Workload) (*Session, []*Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if config.UID == "" { // two of them would share one session, and so one credential
		return nil, nil, fault.Terminal(v1alpha1.ReasonInternal, "%s has no UID: it was not read from Kubernetes", transport.SubjectOf(config))
	}
	var key sessionKey
	var identity *auth.WorkloadIdentity
	if workload != nil {
		key = sessionKey{workload.Namespace, workload.ServiceAccount, workload.Task}
		identity = auth.NewWorkloadIdentity(workload)
	}
	former := s.byUID[config.UID]
	current := former[key]
	// A caller whose copy of the object is older than another caller's gets the session of the newer spec.
	if current != nil && current.holder.config.Generation >= config.Generation {
		current.touch(config, workload)
		return current, nil, nil
	}
	next, err := newSession(s.environment, config.DeepCopy(), identity)
	if err == nil {
		shareWay(next.holder, key, former)
		next.holder.givenUp = func(last *login) { s.draining.add(next.holder, last) }
	}
	// If the owner changed the spec into something that cannot work, the old one must not go on working.
	var replaced []*Session
	for other, session := range former {
		older := session.holder.config
		if older.Generation < config.Generation && (err != nil || other == key || !sameLogin(older, config)) {
			replaced = append(replaced, session)
			delete(former, other)
		}
	}
	if err != nil {
		return nil, replaced, err
	}
	if current != nil && sameLogin(current.holder.config, config) {
		next.holder.takeOver(current.holder)
	}
	next.touch(config, workload)
	if former == nil {
		former = map[sessionKey]*Session{}
		s.byUID[config.UID] = former
	}
	former[key] = next
	return next, replaced, nil
}

// shareWay has a session go the way to Vault of the others of its service account, be they its pods' or a VaultTask's:
// what the VaultConfig may ask of Vault (limits) each service account may, and not as often as it has VaultTasks.
func shareWay(h *tokenHolder, key sessionKey, others map[sessionKey]*Session) {
	for other, session := range others {
		if other.namespace == key.namespace && other.serviceAccount == key.serviceAccount &&
			session.holder.config.Generation == h.config.Generation {
			h.connector = session.holder.connector
		}
	}
}

// sameLogin tells whether two generations of a VaultConfig log in to the same Vault as the same one. Who goes there
// another way keeps the token.
func sameLogin(former, next *v1alpha1.VaultConfig) bool {
	a, b := &former.Spec, &next.Spec
	return a.URL == b.URL && a.VaultNamespace == b.VaultNamespace && equality.Semantic.DeepEqual(a.Auth, b.Auth)
}

func (s *sessionSet) dropUnusedTransports() {
	s.mu.Lock()
	used := map[*transport.Transport]bool{}
	for _, sessions := range s.byUID {
		for _, session := range sessions {
			session.holder.inUse(used)
		}
	}
	s.mu.Unlock()
	s.draining.inUse(used)
	s.environment.pool.Keep(used)
}
