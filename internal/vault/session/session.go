package session

import (
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/auth"
)

// Session is one identity at one Vault: what a VaultConfig says. It is safe for concurrent use, and follows the
// credential: when the Secret's content changes, it logs in with it before the next request. A token that it obtained
// by login it keeps alive for as long as it is used: it is renewed, or replaced by a new login, before the first
// request that comes when that is due.
type Session struct {
	holder *tokenHolder
	// slots hold what packages above keep of the session.
	slots sync.Map

	mu   sync.Mutex
	used time.Time
}

func newSession(env *environment, config *v1alpha1.VaultConfig, workload *auth.WorkloadIdentity) (*Session, error) {
	holder, err := newTokenHolder(env, config, workload)
	if err != nil {
		return nil, err
	}
	return &Session{holder: holder, used: env.clock.Now()}, nil
}

// TokenTerm returns the term of the session's token; zero while there is none.
func (s *Session) TokenTerm() TokenTerm {
	current := s.holder.current()
	if current == nil {
		return TokenTerm{}
	}
	return current.term()
}

// Token describes the session's token; the zero TokenInfo while there is none that Vault accepts.
func (s *Session) Token() auth.TokenInfo {
	current := s.holder.current()
	if current == nil {
		return auth.TokenInfo{}
	}
	info := current.info
	info.Policies = slices.Clone(info.Policies)
	return info
}

// LeaveToken has the token that the session has now live to its own end: it is not revoked with the session. For what
// was made with it, and ends with it, was handed out.
func (s *Session) LeaveToken() {
	if current := s.holder.current(); current != nil {
		current.ref.Invalidate()
	}
}

// Namespace is that of the object that says how to log in.
func (s *Session) Namespace() string { return s.holder.subject.Namespace }

// WorkloadKey is the workload, as namespace/name of its service account, whose identity the session has; empty for the
// VaultConfig's own.
func (s *Session) WorkloadKey() string {
	if s.holder.workload == nil {
		return ""
	}
	return s.holder.workload.String()
}

// ServiceAccount is the name of the workload's service account; empty for the VaultConfig's own identity.
func (s *Session) ServiceAccount() string {
	if s.holder.workload == nil {
		return ""
	}
	return s.holder.workload.ServiceAccount()
}

// Credential is the fingerprint of what the session's login was made with; zero where that is stored nowhere, and while
// there is no login. It stays in memory.
func (s *Session) Credential() (fingerprint [sha256.Size]byte) {
	if current := s.holder.current(); current != nil && !auth.StoresNoCredential(s.holder.config) {
		return current.credential.Fingerprint
	}
	return fingerprint
}

// Format prints whose session it is, for every verb: fmt would find the token in it otherwise.
func (s *Session) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, "session of "+s.Actor())
}

// Actor is how sentences call the session: VaultConfig shop/prod, auth token.
func (s *Session) Actor() string { return s.holder.actor() }

// touch notes that somebody uses the session now.
func (s *Session) touch(config *v1alpha1.VaultConfig, workload *auth.Workload) {
	s.holder.offers.tell(config)
	s.mu.Lock()
	s.used = s.holder.now()
	s.mu.Unlock()
	if s.holder.workload != nil {
		s.holder.workload.Update(workload)
	}
}

func (s *Session) idleSince(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(s.used)
}

// Slot is a place in each session where a package above keeps what it knows of that Vault. The session does not look
// into it, and what is in it ends with the session.
type Slot[T any] struct {
	// New makes what a session's slot holds. The clock is that of the session.
	New func(clock.PassiveClock) *T
}

// Of returns what the session's slot holds.
func (k *Slot[T]) Of(s *Session) *T {
	held, found := s.slots.Load(k)
	if !found {
		held, _ = s.slots.LoadOrStore(k, k.New(s.holder.environment.clock))
	}
	value, _ := held.(*T)
	return value
}
