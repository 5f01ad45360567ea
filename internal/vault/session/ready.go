package session

import (
	"context"
	"errors"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// ready returns the login to make requests with, and logs in or renews first where that is due.
func (s *Session) ready(ctx context.Context) (*login, error) {
	now := s.now()
	s.mu.Lock()
	current, checked := s.login, s.checked
	due := s.renewalDue(now)
	s.mu.Unlock()
	if current != nil && now.Sub(checked) < recheckInterval && !current.info.Expired(now) && !due {
		return current, nil
	}
	return s.share(ctx, "refresh", s.refresh)
}

// refresh compares the login with the credential in Kubernetes and logs in if that is another one, or if there is no token.
func (s *Session) refresh(ctx context.Context) (*login, error) {
	now := s.now()
	current := s.current()
	alive := current != nil && !current.info.Expired(now)
	conn, c, err := s.loginInput(ctx)
	switch {
	case err != nil && alive && fault.From(err).Class == fault.ClassTransient:
		// The Kubernetes API is down, which says nothing about the credential: go on with what works.
		return s.confirm(current), nil
	case err != nil:
		s.clearToken()
		return nil, err
	}
	same := current != nil && current.base == conn && current.credential.Fingerprint == c.Fingerprint
	if same && alive {
		return s.keepAlive(ctx, conn, c, current), nil
	}
	if err := s.rejected(c); err != nil {
		s.clearToken()
		return nil, err
	}
	if same && !current.info.FromLogin && !current.info.Extendable() {
		s.clearToken()
		return nil, s.reject(c, fault.Waiting(v1alpha1.ReasonAuthFailed, "the token expired at %s (%s)",
			current.info.ExpireTime.UTC().Format(time.RFC3339), s.Actor()).WithRemedy("%s", s.method.Remedy()))
	}
	next, err := s.logIn(ctx, conn, c, current)
	if err != nil {
		s.clearToken()
		return nil, err
	}
	return next, nil
}

// loginInput is what a login needs: the way to Vault and the credential.
func (s *Session) loginInput(ctx context.Context) (*transport.Conn, auth.Credential, error) {
	conn, err := s.connector.connect(ctx, true)
	if err != nil {
		return nil, auth.Credential{}, err
	}
	c, err := s.method.ReadCredential(ctx, s.environment.reader)
	return conn, c, err
}

// share runs a step that all concurrent callers wait for. It goes on when the caller that began it gives up; each waits only as
// long as its own context lets it. Its errors are about the object that says how to log in.
func (s *Session) share(ctx context.Context, step string, run func(context.Context) (*login, error)) (*login, error) {
	done := s.flights.DoChan(step, func() (any, error) {
		// Enough for the Kubernetes API and a few requests to Vault, each of which has its own bound.
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), 4*s.connector.timeout())
		defer cancel()
		return run(detached)
	})
	select {
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, s.about(fault.Transient(v1alpha1.ReasonInternal, "given up while waiting for a login (%s)", s.Actor()))
		}
		return nil, s.about(fault.Transient(v1alpha1.ReasonVaultUnreachable, "no login in the time that the caller allows (%s)", s.Actor()))
	case result := <-done:
		next, _ := result.Val.(*login)
		return next, s.about(notSent(result.Err))
	}
}
