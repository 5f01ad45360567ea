package session

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// Session is one identity at one Vault: what a VaultConfig says. It is safe for concurrent use, and follows the credential: when
// the Secret's content changes, it logs in with it before the next request. A token that it obtained by login it keeps alive for
// as long as it is used: it is renewed, or replaced by a new login, before the first request that comes when that is due.
type Session struct {
	environment *environment
	config      *v1alpha1.VaultConfig // a private copy, never changed
	subject     fault.Subject
	connector   *connector
	method      auth.Method
	workload    *auth.WorkloadIdentity // that the session logs in as; nil: the VaultConfig's own identity
	flights     singleflight.Group
	// slots hold what packages above keep of the session.
	slots sync.Map

	mu sync.Mutex
	// login whose token requests are made with; nil while there is none.
	login *login
	// checked is when login was last compared with the credential in Kubernetes.
	checked       time.Time
	loginBackoff  backoff
	renewBackoff  backoff
	policyRecheck backoff
	// closed: nobody gets this session any more. Who still holds it can finish.
	closed bool
	used   time.Time
}

// login is a token and what is known of it. It is never changed, only replaced.
type login struct {
	// base is the way that the login began on, conn the one for requests: another if the token is bound to a client certificate.
	base, conn *transport.Conn
	credential auth.Credential
	token      transport.Token
	info       auth.TokenInfo
	since      time.Time
	renewAt    time.Time
	ref        *tokenRef
}

func newSession(env *environment, config *v1alpha1.VaultConfig, workload *auth.WorkloadIdentity) (*Session, error) {
	connector, err := newConnector(env, config)
	if err != nil {
		return nil, err
	}
	method, err := auth.New(auth.Input{Config: config, Source: env.source(config), Clients: env.kubernetes, Workload: workload})
	if err != nil {
		return nil, err
	}
	return &Session{
		environment: env, config: config, subject: transport.SubjectOf(config), connector: connector, method: method, workload: workload,
		loginBackoff: newLoginBackoff(), renewBackoff: newRenewBackoff(), policyRecheck: newPolicyRecheck(), used: env.clock.Now(),
	}, nil
}

// TokenTerm is which token a session has, and how long it lives as of now.
type TokenTerm struct {
	// ID is a random name that this process gave the token; it says nothing of the token.
	ID string
	// ExpireTime is when the token dies if it is not renewed; zero: never.
	ExpireTime time.Time
}

// TokenTerm returns the term of the session's token; zero while there is none.
func (s *Session) TokenTerm() TokenTerm {
	current := s.current()
	if current == nil {
		return TokenTerm{}
	}
	return current.term()
}

func (l *login) term() TokenTerm { return TokenTerm{ID: l.ref.id, ExpireTime: l.info.ExpireTime} }

// Token describes the session's token; the zero TokenInfo while there is none that Vault accepts.
func (s *Session) Token() auth.TokenInfo {
	current := s.current()
	if current == nil {
		return auth.TokenInfo{}
	}
	info := current.info
	info.Policies = slices.Clone(info.Policies)
	return info
}

// Subject is the workload, as namespace/name of its service account, whose identity the session has; empty for the VaultConfig's own.
func (s *Session) Subject() string {
	if s.workload == nil {
		return ""
	}
	return s.workload.String()
}

// ServiceAccount is the name of the workload's service account; empty for the VaultConfig's own identity.
func (s *Session) ServiceAccount() string {
	if s.workload == nil {
		return ""
	}
	return s.workload.ServiceAccount()
}

// Format prints whose session it is, for every verb: fmt would find the token in it otherwise.
func (s *Session) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, "session of "+s.Actor())
}

// Actor is how sentences call the session: VaultConfig shop/prod, auth token.
func (s *Session) Actor() string { return s.subject.String() + ", auth " + s.method.Label() }

func (s *Session) now() time.Time { return s.environment.clock.Now() }

// about says that an error of the login concerns the object that says how to log in.
func (s *Session) about(err error) error {
	if err == nil {
		return nil
	}
	return fault.About(err, s.subject)
}

func (s *Session) current() *login {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.login
}

// inUse adds the transports that the session uses.
func (s *Session) inUse(used map[*transport.Transport]bool) {
	s.connector.inUse(used)
	if current := s.current(); current != nil {
		used[current.conn.Transport()] = true
	}
}

// touch notes that somebody uses the session now.
func (s *Session) touch(workload *auth.Workload) {
	s.mu.Lock()
	s.used = s.now()
	s.mu.Unlock()
	if s.workload != nil {
		s.workload.Update(workload)
	}
}

func (s *Session) idleSince(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(s.used)
}

// leave is called after a use of the session: if that was closed meanwhile, nobody will use its token again.
func (s *Session) leave() {
	s.mu.Lock()
	closed := s.closed && s.method.IssuesToken()
	s.mu.Unlock()
	if closed {
		s.clearToken()
	}
}

// takeOver gets what a former session of the same login has, so that a change of the spec that does not concern the login
// costs none, and its token, with all that depends on it, lives on.
func (s *Session) takeOver(former *Session) {
	former.mu.Lock()
	defer former.mu.Unlock()
	s.method, s.workload, s.connector = former.method, former.workload, former.connector
	s.login, s.checked = former.login, former.checked
	s.loginBackoff, s.renewBackoff = former.loginBackoff, former.renewBackoff
	if s.login != nil {
		s.policyRecheck.hold(s.login.since)
	}
	former.login = nil
}

// close is called when nobody gets this session any more.
func (s *Session) close() {
	s.mu.Lock()
	former := s.login
	s.closed = true
	if s.method.IssuesToken() {
		s.login = nil
	}
	s.mu.Unlock()
	if former != nil {
		former.ref.Close()
	}
}

// clearToken gives up the token: the credential is looked at before anything else is tried.
func (s *Session) clearToken() {
	s.mu.Lock()
	former := s.login
	s.login = nil
	s.mu.Unlock()
	if former != nil {
		former.ref.Close()
	}
}

// invalidate has the credential read again before the next request.
func (s *Session) invalidate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked = time.Time{}
}
