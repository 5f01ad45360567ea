package vault

import (
	"context"
	"errors"
	"slices"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// policiesTrusted is how long after a login a request that the living token is denied leads to no new one; up to maxPoliciesTrusted if
// that changes nothing.
const (
	policiesTrusted    = 5 * time.Minute
	maxPoliciesTrusted = 6 * time.Hour
)

// ready returns the identity to make requests with, and logs in or renews first where that is due.
func (s *Session) ready(ctx context.Context) (*identity, error) {
	now := s.sessions.clock.Now()
	s.mu.Lock()
	current, checked := s.identity, s.checked
	due := s.extensionDue(now)
	s.mu.Unlock()
	if current != nil && now.Sub(checked) < recheckInterval && !current.info.expired(now) && !due {
		return current, nil
	}
	return s.share(ctx, "refresh", s.refresh)
}

// refresh compares the identity with the credential in Kubernetes and logs in if it is another one, or if there is no identity.
func (s *Session) refresh(ctx context.Context) (*identity, error) {
	now := s.sessions.clock.Now()
	current := s.currentIdentity()
	alive := current != nil && !current.info.expired(now)
	link, c, err := s.material(ctx)
	switch {
	case err != nil && alive && fault.From(err).Class == fault.ClassTransient:
		// The Kubernetes API is down, which says nothing about the credential: go on with what works.
		return s.confirm(current), nil
	case err != nil:
		s.drop()
		return nil, err
	}
	same := current != nil && current.base == link && current.credential.fingerprint == c.fingerprint
	if same && alive {
		return s.extend(ctx, link, c, current), nil
	}
	if err := s.rejection(c); err != nil {
		s.drop()
		return nil, err
	}
	if same && !current.info.FromLogin && !current.info.extendable() {
		s.drop()
		return nil, s.reject(c, fault.Waiting(v1alpha1.ReasonAuthFailed, "the token expired at %s (%s); %s",
			current.info.ExpireTime.UTC().Format(time.RFC3339), s.as(), s.method.cure()))
	}
	next, err := s.login(ctx, link, c, current)
	if err != nil {
		s.drop()
		return nil, err
	}
	return next, nil
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

// login makes the session another identity. The former one is given up only then.
func (s *Session) login(ctx context.Context, link *link, c credential, former *identity) (*identity, error) {
	granted, err := s.method.login(ctx, link, c)
	switch {
	case fault.Is(err, v1alpha1.ReasonAuthFailed):
		return nil, s.reject(c, err)
	case err != nil:
		return nil, err
	}
	if former != nil && !granted.info.FromLogin && former.credential.fingerprint == c.fingerprint {
		granted.info.LastRenewal = former.info.LastRenewal
	}
	return s.adopt(s.newIdentity(link, c, granted)), nil //nolint:contextcheck // a revocation outlives the request that leads to it
}

// challenge finds out why Vault denied a request. It returns another identity if the credential changed or a new login gave one, the
// same one if the token is good, and a fault if it is dead.
func (s *Session) challenge(ctx context.Context, denied *identity) (*identity, error) {
	return s.share(ctx, "challenge", func(ctx context.Context) (*identity, error) {
		if current := s.currentIdentity(); current != nil && current.usage != denied.usage {
			return current, nil // another caller was faster
		}
		s.doubt()
		next, err := s.share(ctx, "refresh", s.refresh)
		if err != nil || next.usage != denied.usage {
			return next, err
		}
		_, err = denied.link.lookup(ctx, denied.token, s.method.namespace(), s.as(), s.method.cure())
		dead := fault.Is(err, v1alpha1.ReasonAuthFailed)
		switch {
		case !dead && !s.mayHaveNewPolicies(denied):
			return denied, nil // if Vault did not answer, its denial is still the best that is known
		case !s.method.ours():
			s.drop()
			return nil, s.reject(denied.credential, err)
		case dead:
			denied.usage.abandon()
			s.drop()
		}
		if err := s.rejection(denied.credential); err != nil {
			if !dead {
				return denied, nil
			}
			return nil, err
		}
		renewed, err := s.login(ctx, denied.base, denied.credential, denied)
		if err != nil && !dead {
			return denied, nil
		}
		if err == nil && !dead {
			s.suspected(slices.Equal(renewed.info.Policies, denied.info.Policies))
		}
		return renewed, err
	})
}

// mayHaveNewPolicies: a token has the policies that its role had at the login. What is denied to it may have been granted since. An AppRole's
// secret ID can be good for a number of logins, which are not spent on a guess.
func (s *Session) mayHaveNewPolicies(denied *identity) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.method.ours() && s.config.Spec.Auth.AppRole == nil &&
		s.sessions.clock.Now().Sub(denied.since) >= max(s.trusted, policiesTrusted)
}

// suspected notes what came of a login that was made to see whether there are new policies: one request that is always denied must not
// make for a login every few minutes for ever.
func (s *Session) suspected(inVain bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !inVain {
		s.trusted = 0
		return
	}
	s.trusted = min(2*max(s.trusted, policiesTrusted), maxPoliciesTrusted)
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
		if current != nil && errors.As(err, &f) && f.Class == fault.ClassTransient {
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
	former := s.identity
	if former != next {
		s.forgetEngines()
	}
	s.identity, s.checked, s.rejected, s.extension = next, s.sessions.clock.Now(), nil, nil
	s.mu.Unlock()
	if former != nil && former.usage != next.usage {
		former.usage.retire()
	}
	return next
}

// forgetEngines forgets what Vault said to a former token: what one may not ask, another may. Which paths make leases stays known. The
// caller holds the lock.
func (s *Session) forgetEngines() {
	former := s.engines
	s.engines = map[string]engine{}
	for path, known := range former {
		if len(known.leased) > 0 {
			s.engines[path] = engine{leased: known.leased}
		}
	}
}

// drop forgets the identity: the credential is looked at before anything else is tried.
func (s *Session) drop() {
	s.mu.Lock()
	former := s.identity
	s.identity = nil
	s.mu.Unlock()
	if former != nil {
		former.usage.retire()
	}
}

// doubt has the credential read again before the next request.
func (s *Session) doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked = time.Time{}
}

// doubtLink has the certificates and the credential read again before the next request.
func (s *Session) doubtLink() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.linkChecked, s.checked = time.Time{}, time.Time{}
}
