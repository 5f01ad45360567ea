package session

import (
	"context"
	"errors"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// ready returns the login to make requests with, and logs in or renews first where that is due.
func (h *tokenHolder) ready(ctx context.Context) (*login, error) {
	now := h.now()
	h.mu.Lock()
	current, checked := h.login, h.checked
	due := h.renewalDue(now)
	h.mu.Unlock()
	if h.fixed {
		return current, nil
	}
	if current != nil && now.Sub(checked) < recheckInterval && !current.info.Expired(now) && !due {
		return current, nil
	}
	return h.share(ctx, "refresh", h.refresh)
}

// refresh compares the login with the credential in Kubernetes and logs in if that is another one, or if there is no
// token.
func (h *tokenHolder) refresh(ctx context.Context) (*login, error) {
	now := h.now()
	current := h.current()
	alive := current != nil && !current.info.Expired(now)
	conn, c, err := h.loginInput(ctx)
	switch {
	case err != nil && alive && fault.From(err).Class == fault.ClassTransient:
		// The Kubernetes API is down, which says nothing about the credential: go on with what works.
		return h.confirm(current), nil
	case err != nil:
		h.setAside()
		return nil, err
	}
	if current == nil {
		current = unpark(h, c)
	}
	if current, err = rebase(ctx, h, current, conn); err != nil {
		return nil, err
	}
	alive = current != nil && !current.info.Expired(now)
	same := current != nil && current.credential.Fingerprint == c.Fingerprint
	if same && alive {
		return h.keepAlive(ctx, conn, c, h.lookAgain(ctx, current)), nil
	}
	if err := h.offers.held(c); err != nil {
		h.setAside()
		return nil, err
	}
	if same && !current.info.FromLogin && !current.info.Extendable() {
		h.clearToken()
		return nil, h.reject(c, fault.Waiting(v1alpha1.ReasonAuthFailed, "the token expired at %s (%s)",
			current.info.ExpireTime.UTC().Format(time.RFC3339), h.actor()).WithRemedy("%s", h.method.Remedy()))
	}
	next, err := h.logIn(ctx, conn, c, current)
	switch {
	case err != nil && alive && fault.From(err).Class == fault.ClassTransient:
		// Vault says nothing about the new credential yet.
		return h.confirm(current), nil
	case err != nil:
		h.setAside()
		return nil, err
	}
	return next, nil
}

// checkNamespace refuses a namespace of a Vault that has none.
func checkNamespace(ctx context.Context, config *v1alpha1.VaultConfig, conn *transport.Conn) error {
	if named := NamesNamespace(config); named != nil && conn.LacksNamespaces(ctx) {
		return named
	}
	return nil
}

// rebase has a login go another way to the same Vault, for the certificates are others now. A token belongs to a Vault
// and not to a connection; if the Vault there is another, it denies the token, and a new login follows. A way that is
// not trusted is not gone, and neither is the former one, but the token is kept.
func rebase(ctx context.Context, h *tokenHolder, current *login, conn *transport.Conn) (*login, error) {
	if current == nil || current.base == conn {
		return current, nil
	}
	if _, err := conn.Health(ctx, h.actor()); fault.Is(err, v1alpha1.ReasonTLSFailed) {
		return nil, err
	}
	next := *current
	next.base, next.conn = conn, conn
	if bound := current.conn.Transport().ClientCertificate; current.conn != current.base && bound != nil {
		var err error
		if next.conn, err = conn.WithClientCertificate(bound); err != nil {
			return nil, err
		}
	}
	return h.replace(current, &next), nil
}

// loginInput is what a login needs: the way to Vault, to a namespace that can be there, and the credential.
func (h *tokenHolder) loginInput(ctx context.Context) (*transport.Conn, auth.Credential, error) {
	conn, err := h.connector.connect(ctx, true)
	if err != nil {
		return nil, auth.Credential{}, err
	}
	reader := &versionReader{Reader: h.environment.reader}
	c, err := h.method.ReadCredential(ctx, reader)
	c.Version = reader.version
	if err == nil {
		err = checkNamespace(ctx, h.config, conn)
	}
	return conn, c, err
}

// versionReader remembers the resource version of what was read last.
type versionReader struct {
	client.Reader
	version string
}

// Get implements client.Reader.
func (r *versionReader) Get(
	ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption,
) error {
	err := r.Reader.Get(ctx, key, object, options...)
	r.version = object.GetResourceVersion()
	return err
}

// share runs a step that all concurrent callers wait for. It goes on when the caller that began it gives up; each waits
// only as long as its own context lets it. Its errors are about the object that says how to log in.
func (h *tokenHolder) share(
	ctx context.Context, step string, run func(context.Context) (*login, error),
) (*login, error) {
	// In a turn of its own: it is for everybody who uses the session, and waits behind the requests of none.
	ctx = transport.OnBehalfOf(ctx, "")
	// Enough for the Kubernetes API and a few requests to Vault, each of which has its own bound.
	next, landed, err := h.flights.Join(ctx, step, 4*h.connector.timeout(), run)
	switch {
	case landed:
		return next, h.about(notSent(err))
	case errors.Is(err, context.Canceled):
		return nil, h.about(fault.Transient(v1alpha1.ReasonInternal, "given up while waiting for a login (%s)", h.actor()))
	}
	return nil, h.about(fault.Transient(v1alpha1.ReasonVaultUnreachable,
		"no login in the time that the caller allows (%s)", h.actor()).WithRemedy(transport.CheckSpeed))
}
