package resolver

import (
	"context"
	"crypto/rand"
	"slices"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/lease"
)

// dynamic are the sources of dynamic secrets.
func (p *plan) dynamic() []*source {
	var found []*source
	for _, s := range p.sources {
		if s.dynamic && s.err == nil && !s.deferred {
			found = append(found, s)
		}
	}
	return found
}

// dynamicPaths are the paths of dynamic secrets, in order.
func (p *plan) dynamicPaths() []string {
	var paths []string
	for _, s := range p.dynamic() {
		paths = append(paths, s.path)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// secretKeys are the keys under which the volume's leases have the dynamic secrets.
func (p *plan) secretKeys() []string {
	var keys []string
	for _, s := range p.dynamic() {
		keys = append(keys, s.secretKey())
	}
	return keys
}

// keyDynamic gives dynamic secrets the keys under which a volume's leases have them. Only after all is read is it known
// which ones are.
func (p *plan) keyDynamic() {
	for _, s := range p.dynamic() {
		s.key = s.secretKey()
	}
}

// keepIssued gives the dynamic secrets that the volume holds already the version that they have.
func (p *plan) keepIssued(leaseNames map[string]string) {
	if !p.forVolume {
		return
	}
	for _, s := range p.dynamic() {
		if name := leaseNames[s.key]; name != "" {
			s.version = issuedVersion(name)
		}
	}
}

// issue has Vault issue the dynamic secrets of a volume that it does not hold, unless something else is missing: each
// is a credential at another system. What was issued is returned in any case.
func (p *plan) issue(ctx context.Context, reader *secretReader) []lease.DynamicSecret {
	if slices.ContainsFunc(p.sources, func(s *source) bool { return s.err != nil }) {
		return nil
	}
	sources := slices.DeleteFunc(p.dynamic(), func(s *source) bool { return s.held })
	// One for each secret key, whatever the number of references that mean it: a user and its password belong together.
	first := map[string]*source{}
	sources = slices.DeleteFunc(sources, func(s *source) bool {
		twin := first[s.key]
		if twin == nil {
			first[s.key] = s
			return false
		}
		twin.wantAs(s)
		return true
	})
	// Detached, because a response that nobody waits for any more is a lease that nobody revokes.
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	inParallel(detached, sources, func(s *source) {
		started := reader.clock.Now()
		if s.issue(detached); s.err != nil {
			return
		}
		p.keep(s, &s.issued.Secret) // what finds no room is issued all the same, and the caller's to revoke
		s.issued.Secret.Data = nil
		if s.issued.Shared && s.err == nil {
			reader.adopt(s, p, started)
		}
	})
	var issued []lease.DynamicSecret
	for _, s := range sources {
		if s.issued == nil || s.issued.Shared {
			continue
		}
		name := rand.Text()
		s.version = issuedVersion(name)
		issued = append(issued, lease.DynamicSecret{
			Name: name, SecretKey: s.key, Config: s.config, ServiceAccount: s.serviceAccount(), Issued: s.issued,
		})
	}
	for _, s := range p.dynamic() {
		s.shareWith(first[s.key])
	}
	return issued
}

// shareWith takes over what was issued for another source of the same secret key.
func (s *source) shareWith(twin *source) {
	if twin != nil && twin != s {
		s.secret, s.issued, s.version, s.key, s.err = twin.secret, twin.issued, twin.version, twin.key, twin.err
		s.dynamic = twin.dynamic
	}
}

// checkIssuable finds out whether Vault would issue what a volume needs; it does not.
func (p *plan) checkIssuable(ctx context.Context) {
	inParallel(ctx, p.dynamic(), func(s *source) { s.checkIssuable(ctx) })
}

// refuseDynamic refuses what only a volume can have.
func (p *plan) refuseDynamic() {
	for _, s := range p.dynamic() {
		s.err = fault.Waiting(v1alpha1.ReasonInvalidRequest,
			"%s is made for each reader, and only a Connection that a pod mounts can have it", s.path).
			WithRemedy("use a path that answers the same to everybody, such as static-creds of the database engine")
	}
}
