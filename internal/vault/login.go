package vault

import (
	"context"
	"errors"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// ready returns the identity to make requests with, and logs in first where that is due.
func (s *Session) ready(ctx context.Context) (*identity, error) {
	now := s.sessions.clock.Now()
	s.mu.Lock()
	current, checked := s.identity, s.checked
	s.mu.Unlock()
	if current != nil && now.Sub(checked) < recheckInterval && !current.info.expired(now) {
		return current, nil
	}
	return s.share(ctx, "refresh", s.refresh)
}

// refresh compares the identity with the credential in Kubernetes and logs in if it is another one, or if there is no identity.
func (s *Session) refresh(ctx context.Context) (*identity, error) {
	now := s.sessions.clock.Now()
	current := s.currentIdentity()
	link, c, err := s.material(ctx)
	switch {
	case err != nil && current != nil && !current.info.expired(now) && fault.From(err).Class == fault.Retry:
		// The Kubernetes API is down, which says nothing about the credential: go on with what works.
		return s.adopt(current), nil
	case err != nil:
		s.drop()
		return nil, err
	}
	same := current != nil && current.link == link && current.credential.fingerprint == c.fingerprint
	if same && !current.info.expired(now) {
		return s.adopt(current), nil
	}
	if err := s.rejection(c); err != nil {
		return nil, err
	}
	if same && !current.info.extendable() {
		return nil, s.reject(c, fault.Wait(v1alpha1.ReasonAuthFailed, "the token expired at %s (%s); %s",
			current.info.ExpireTime.UTC().Format(time.RFC3339), s.as(), s.method.cure()))
	}
	return s.login(ctx, link, c, current)
}

// material is what a login needs: the way to Vault and the credential.
func (s *Session) material(ctx context.Context) (*link, credential, error) {
	link, err := s.connect(ctx, true)
	if err != nil {
		return nil, credential{}, err
	}
	c, err := s.method.credential(ctx, s.sessions.reader)
	return link, c, err
}

func (s *Session) login(ctx context.Context, link *link, c credential, former *identity) (*identity, error) {
	t, info, err := s.method.login(ctx, link, c)
	switch {
	case fault.Is(err, v1alpha1.ReasonAuthFailed):
		s.drop()
		return nil, s.reject(c, err)
	case err != nil:
		s.drop()
		return nil, err
	}
	if former != nil && former.credential.fingerprint == c.fingerprint {
		info.LastRenewal = former.info.LastRenewal
	}
	return s.adopt(s.newIdentity(link, c, t, info)), nil
}

// challenge finds out why Vault denied a request. It returns another identity if the credential changed, the same one if the token
// is good, and a fault if it is dead.
func (s *Session) challenge(ctx context.Context, denied *identity) (*identity, error) {
	return s.share(ctx, "challenge", func(ctx context.Context) (*identity, error) {
		if current := s.currentIdentity(); current != nil && current != denied {
			return current, nil // another caller was faster
		}
		next, err := s.share(ctx, "refresh", s.refresh)
		if err != nil || next != denied {
			return next, err
		}
		_, _, err = s.method.login(ctx, denied.link, denied.credential)
		if fault.Is(err, v1alpha1.ReasonAuthFailed) {
			return nil, s.reject(denied.credential, err)
		}
		return denied, nil // if Vault did not answer, its denial is still the best that is known
	})
}

// connect returns the way to Vault. The certificates are read again if that is due, or if again says so.
func (s *Session) connect(ctx context.Context, again bool) (*link, error) {
	now := s.sessions.clock.Now()
	s.mu.Lock()
	current, checked := s.link, s.linkChecked
	s.mu.Unlock()
	if current != nil && (!follows(s.config) || !again && now.Sub(checked) < recheckInterval) {
		return current, nil
	}
	way, err := s.route(ctx, s.sessions.reader)
	if err != nil {
		var f *fault.Fault
		if current != nil && errors.As(err, &f) && f.Class == fault.Retry {
			return current, nil
		}
		return nil, err
	}
	wire, err := s.sessions.wires.get(way)
	if err != nil {
		return nil, err
	}
	next := current
	if current == nil || current.wire != wire {
		next = s.newLink(wire)
	}
	s.mu.Lock()
	s.link, s.linkChecked = next, now
	s.mu.Unlock()
	if current != nil && current != next {
		s.sessions.dropUnusedLinks()
	}
	return next, nil
}

func (s *Session) health(ctx context.Context) (Health, error) {
	link, err := s.connect(ctx, false)
	if err != nil {
		return Health{}, err
	}
	health, err := link.health(ctx, configName(s.config))
	if fault.Is(err, v1alpha1.ReasonTLSFailed) {
		s.doubtLink()
	}
	return health, err
}

// adopt makes an identity the session's, as of now in accord with the credential.
func (s *Session) adopt(next *identity) *identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity != next {
		s.engines = map[string]engine{} // what one token may not ask, another may
	}
	s.identity, s.checked, s.rejected = next, s.sessions.clock.Now(), nil
	return next
}

// drop forgets the identity: the credential is looked at before anything else is tried.
func (s *Session) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identity = nil
}

// reject remembers that Vault does not accept a credential.
func (s *Session) reject(c credential, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity != nil && s.identity.credential.fingerprint == c.fingerprint {
		s.identity = nil
	}
	s.rejected = &rejection{c.fingerprint, err}
	return err
}

// rejection returns why Vault did not accept this credential earlier, nil if it did not reject it.
func (s *Session) rejection(c credential) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rejected != nil && s.rejected.fingerprint == c.fingerprint {
		return s.rejected.err
	}
	return nil
}

// doubtLink has the certificates and the credential read again before the next request.
func (s *Session) doubtLink() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.linkChecked, s.checked = time.Time{}, time.Time{}
}
