package session

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/flight"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// tokenHolder gets and keeps the token of a session: it logs in, renews, finds out what a denied request means, and
// gives the token up.
type tokenHolder struct {
	environment *environment
	config      *v1alpha1.VaultConfig // a private copy, never changed
	subject     fault.Subject
	connector   *connector
	method      auth.Method
	offers      *offers
	workload    *auth.WorkloadIdentity // that it logs in as; nil: the VaultConfig's own identity
	flights     flight.Group[*login]

	mu sync.Mutex
	// login whose token requests are made with; nil while there is none.
	login *login
	// parked is a login that was set aside: see setAside.
	parked *login
	// down: the session cannot be used, as far as was told.
	down bool
	// checked is when login was last compared with the credential in Kubernetes.
	checked       time.Time
	renewBackoff  backoff
	policyRecheck backoff
	// closed: nobody gets the session any more. Who still holds it can finish.
	closed bool
	// servesLeases: leases were issued, renewed or revoked with it. Then givenUp is told of a login that is given up
	// though it may live.
	servesLeases bool
	givenUp      func(*login)
	// fixed: it has one login and never gets another.
	fixed bool
}

// login is a token and what is known of it. It is never changed, only replaced.
type login struct {
	// base is the way that the login began on, conn the one for requests: another if the token is bound to a client
	// certificate.
	base, conn *transport.Conn
	credential auth.Credential
	token      transport.Token
	// namespace of Vault that the token lives in.
	namespace string
	info      auth.TokenInfo
	since     time.Time
	renewAt   time.Time
	// looked is when its token was looked up last.
	looked time.Time
	ref    *tokenRef
}

// TokenTerm is which token a session has, and how long it lives as of now.
type TokenTerm struct {
	// ID is a random name that this process gave the token; it says nothing of the token.
	ID string
	// ExpireTime is when the token dies if it is not renewed; zero: never.
	ExpireTime time.Time
}

func newTokenHolder(
	env *environment, config *v1alpha1.VaultConfig, workload *auth.WorkloadIdentity,
) (*tokenHolder, error) {
	connector, err := newConnector(env, config)
	if err != nil {
		return nil, err
	}
	method, err := auth.New(
		auth.Input{
			Config: config, Source: env.source(config), Clients: env.kubernetes, Workload: workload, SecretIDs: env.secretIDs,
		},
	)
	if err != nil {
		return nil, err
	}
	holder := &tokenHolder{
		environment: env, config: config, subject: transport.SubjectOf(
			config,
		), connector: connector, method: method, workload: workload,
		renewBackoff: newRenewBackoff(), policyRecheck: newPolicyRecheck(),
	}
	holder.offers = newOffers(env.accounts, env.leading, WayTo(config), method, holder.actor())
	return holder, nil
}

// fixedHolder is the holder of nothing but one login, on the way to Vault of another holder.
func fixedHolder(h *tokenHolder, only *login) *tokenHolder {
	return &tokenHolder{
		environment: h.environment, config: h.config, subject: h.subject, connector: h.connector, method: h.method,
		workload: h.workload, login: only, fixed: true,
	}
}

func (l *login) term() TokenTerm { return TokenTerm{ID: l.ref.id, ExpireTime: l.info.ExpireTime} }

// actor is how sentences call it: VaultConfig shop/prod, auth token.
func (h *tokenHolder) actor() string { return h.subject.String() + ", auth " + h.method.Label() }

func (h *tokenHolder) now() time.Time { return h.environment.clock.Now() }

// about says that an error of the login concerns the object that says how to log in.
func (h *tokenHolder) about(err error) error {
	if err == nil {
		return nil
	}
	return fault.About(err, h.subject)
}

func (h *tokenHolder) current() *login {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.login
}

// inUse adds the transports that the session uses.
func (h *tokenHolder) inUse(used map[*transport.Transport]bool) {
	h.connector.inUse(used)
	if current := h.current(); current != nil {
		used[current.conn.Transport()] = true
	}
}

// leave is called after a use of the session: if that was closed meanwhile, nobody will use its token again.
func (h *tokenHolder) leave() {
	h.mu.Lock()
	closed := h.closed && h.method.IssuesToken()
	h.mu.Unlock()
	if closed {
		h.clearToken()
	}
}

// takeOver gets what a former session of the same login has, so that a change of the spec that does not concern the
// login costs none, and its token, with all that depends on it, lives on.
func (h *tokenHolder) takeOver(former *tokenHolder) {
	former.mu.Lock()
	defer former.mu.Unlock()
	h.method, h.workload = former.method, former.workload
	if sameWay(former.config, h.config) {
		h.connector = former.connector
	}
	h.login, h.checked, h.servesLeases = former.login, former.checked, former.servesLeases
	if h.connector != former.connector { // another way is to be looked at before it is gone
		h.checked = time.Time{}
	}
	h.renewBackoff = former.renewBackoff
	h.offers = former.offers
	h.offers.edited()
	if h.login != nil {
		h.policyRecheck.hold(h.login.since)
	}
	h.parked, h.down = former.parked, former.down
	former.login, former.parked = nil, nil
}

// sameWay tells whether two generations of a VaultConfig reach Vault in the same way.
func sameWay(former, next *v1alpha1.VaultConfig) bool {
	way := func(spec v1alpha1.VaultConfigSpec) []any {
		return []any{spec.URL, spec.CACertificate, spec.CACertificateFrom, spec.TLS, spec.Proxy, spec.Headers, spec.Limits}
	}
	return equality.Semantic.DeepEqual(way(former.Spec), way(next.Spec))
}

// close is called when nobody gets this session any more.
func (h *tokenHolder) close() {
	h.mu.Lock()
	former, parked := h.login, h.parked
	h.closed, h.parked = true, nil
	if h.method.IssuesToken() {
		h.login = nil
	}
	h.mu.Unlock()
	giveUp(h, former)
	if parked != nil {
		parked.ref.Close()
	}
}

// setAside uses the token no more, which may live: what it was got with is gone, or is another that is not accepted. It
// is given up only when there is its successor, for the former credential may come back, and may be good for no further
// login.
func (h *tokenHolder) setAside() {
	former := takeLogin(h)
	if former == nil {
		return
	}
	drain(h, former)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.parked = former
}

// unpark takes a login up again that was set aside, if this is its credential.
func unpark(h *tokenHolder, c auth.Credential) *login {
	h.mu.Lock()
	defer h.mu.Unlock()
	former := h.parked
	if h.closed || former == nil || former.credential.Fingerprint != c.Fingerprint || former.info.Expired(h.now()) {
		return nil
	}
	h.login, h.parked = former, nil
	turn(h, false)
	return former
}

// clearToken gives up a token that is dead, or that nobody needs.
func (h *tokenHolder) clearToken() {
	if former := takeLogin(h); former != nil {
		former.ref.Close()
	}
}

// takeLogin leaves the holder without a token: the credential is looked at before anything else is tried.
func takeLogin(h *tokenHolder) *login {
	h.mu.Lock()
	defer h.mu.Unlock()
	former := h.login
	h.login = nil
	if former != nil && !h.closed {
		turn(h, true)
	}
	return former
}

// giveUp says that nothing but revocations of leases will use a login from now on.
func giveUp(h *tokenHolder, former *login) {
	if former == nil {
		return
	}
	drain(h, former)
	former.ref.Close()
}

// drain has leases be revoked with a login for a while yet.
func drain(h *tokenHolder, former *login) {
	h.mu.Lock()
	drains := h.servesLeases && h.givenUp != nil
	h.mu.Unlock()
	if drains {
		h.givenUp(former)
	}
}

// turn tells whoever shows it that the session can be used no more, or again. The caller holds the lock.
func turn(h *tokenHolder, down bool) {
	turned := h.environment.turned.Load()
	if h.down != down && turned != nil && h.workload == nil && h.subject.Kind == fault.KindVaultConfig {
		(*turned)(client.ObjectKeyFromObject(h.config))
	}
	h.down = down
}

// invalidate has the credential read again before the next request.
func (h *tokenHolder) invalidate() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checked = time.Time{}
}

// invalidateAll has the certificates and the credential read again before the next request.
func (h *tokenHolder) invalidateAll() {
	h.connector.invalidate()
	h.invalidate()
}
