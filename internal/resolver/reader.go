package resolver

import (
	"cmp"
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/flight"
	"sallyport.dev/sallyport/internal/resolver/outage"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// readTimeout bounds one shared read; it outlives the caller who happened to start it.
const readTimeout = 15 * time.Second

// secretReader reads secrets from Vault so that the number of requests follows that of secrets: concurrent callers
// share one read, and so do the volumes of a burst and those that refresh within the same interval.
type secretReader struct {
	clock    clock.PassiveClock
	flights  flight.Group[readResult]
	versions *versionCache
	burst    *burstCache
	outages  *outage.Memory
}

func newSecretReader(clk clock.PassiveClock) *secretReader {
	return &secretReader{
		clock: clk, versions: newVersionCache(clk), burst: newBurstCache(clk), outages: outage.New(clk),
	}
}

// poll learns the version of every source, from the cache where a read of the current interval has been seen. A source
// that it had to read keeps the secret for the rest of the request.
func (r *secretReader) poll(ctx context.Context, p *plan, interval time.Duration) {
	inParallel(ctx, p.sources, func(s *source) {
		if s.err != nil || s.absent() {
			return
		}
		var fresh bool
		if s.version, fresh, s.err = r.versions.Get(s.key, s.fields(), interval, s.toleratesAbsence()); !fresh {
			r.read(ctx, s, p)
			return
		}
		s.forgive()
		if secrets.MadeLease(s.err) {
			s.dynamic, s.version, s.err = true, "", nil
		}
	})
}

// readAll reads every source that the request does not hold already. One that turns out to be dynamic is left to
// plan.issue.
func (r *secretReader) readAll(ctx context.Context, p *plan) {
	inParallel(ctx, p.sources, func(s *source) {
		if s.err == nil && s.secret == nil && !s.looked && !s.absent() {
			r.read(ctx, s, p)
		}
	})
}

// read reads a secret from Vault, sharing the result with all callers while the request is under way, and for
// volumes with those of the same burst. The version cache remembers when it was read and which version it had.
func (r *secretReader) read(ctx context.Context, s *source, p *plan) {
	id := r.versions.BeginRead(p.namespace, s.key, s.place())
	if p.forVolume {
		if got, ok := r.burst.Get(id); ok && (got.absence == nil || s.toleratesAbsence()) {
			r.take(got, s, p)
			return
		}
	}
	name := id
	if s.config.Spec.Limits != nil { // else one namespace's read would wait in the turn of another's
		name += " for " + p.namespace
	}
	got, landed, err := r.flights.Join(ctx, name, readTimeout, func(ctx context.Context) (readResult, error) {
		started, credential := r.clock.Now(), s.session.Credential()
		secret, err := s.fetch(ctx)
		got := readResult{secret: secret, started: started, credential: credential}
		switch {
		case fault.Absent(err):
			got.absence = err
			r.versions.RecordAbsence(s.key, err, started)
		case err != nil:
			r.versions.RecordFailure(s.key, err)
			return readResult{}, err
		default:
			r.versions.Record(s.key, secret, nil, started)
		}
		r.burst.Put(id, s.place(), got, started)
		return got, nil
	})
	switch {
	case landed && secrets.MadeLease(err):
		s.dynamic, s.version = true, ""
	case !landed:
		s.err = fault.Transient(v1alpha1.ReasonVaultUnreachable, "%s: not read in the time that the caller allows (%s)",
			s.path, s.session.Actor()).WithRemedy(transport.CheckSpeed)
	case err != nil:
		s.err = err
	default:
		r.take(got, s, p)
	}
}

// take has a source keep what it wants of a secret that was read, for itself or with others.
func (r *secretReader) take(got readResult, s *source, p *plan) {
	if got.absence != nil {
		s.err, s.looked = got.absence, true
		s.forgive()
		return
	}
	p.keep(s, got.secret)
	s.version = r.versions.Record(s.key, got.secret, s.fields(), got.started)
	if p.base != "" { // for the volumes of a Connection, and their checks, which want the same of a secret
		r.keepForOutage(got, s, p.namespace)
	}
}

// keepForOutage has a secret be remembered that pods may start with while Vault cannot be reached. What differs at each
// read is of no use to them, and neither is what Vault has changed by then.
func (r *secretReader) keepForOutage(got readResult, s *source, namespace string) {
	differs := func(name string) bool { return slices.Contains(got.secret.Fleeting, name) }
	// With which one it was read is not known where it changed meanwhile.
	if s.config.Spec.Outage == nil || got.credential != s.session.Credential() ||
		slices.ContainsFunc(s.fields(), differs) || s.whole && len(got.secret.Fleeting) > 0 && got.secret.ChangesIn == 0 {
		return
	}
	end := got.started.Add(s.config.Spec.Outage.ServeFor.Duration)
	if changes := got.started.Add(got.secret.ChangesIn); got.secret.ChangesIn > 0 && changes.Before(end) {
		end = changes
	}
	r.outages.Keep(s.outageKey(namespace, s.session.WorkloadKey()), outage.Read{
		Secret: got.secret, Credential: got.credential, Path: s.path, KV2Engine: s.kv2Engine, Place: s.place(),
		Revision: s.key, Started: got.started,
	}, s.fields(), end)
}

// heed forgets what pods could have started with where it was refused: a secret, or whoever would read it.
func (r *secretReader) heed(p *plan, workload *auth.Workload) {
	for _, s := range p.sources {
		failed := cmp.Or(s.err, s.missing)
		if s.config == nil || s.config.Spec.Outage == nil || failed == nil {
			continue
		}
		key := s.outageKey(p.namespace, workloadKey(s.config, workload))
		switch f := fault.From(failed); {
		// What is before Vault, or poses as it, refuses nothing in Vault's name.
		case f.Class == fault.ClassTransient, f.Reason == v1alpha1.ReasonTLSFailed,
			f.Reason == v1alpha1.ReasonVaultUnreachable:
		case f.Reason == v1alpha1.ReasonAuthFailed, f.Reason == v1alpha1.ReasonCredentialMissing:
			r.outages.ForgetIdentity(key.Identity)
		default:
			r.outages.Forget(key)
		}
	}
}

// recall gives the sources that Vault gave no answer for what is remembered of them. All that is decided without Vault
// is decided anew: who may use the VaultConfig for what, and what it would log in with.
func (r *secretReader) recall(
	ctx context.Context, p *plan, sessions *session.Sessions, access access, workload *auth.Workload,
) {
	type stored struct {
		fingerprint [sha256.Size]byte
		err         error
	}
	credentials := map[types.UID]stored{} // each is read once for all secrets of a VaultConfig
	for _, s := range p.sources {
		wants := s.config != nil && s.config.Spec.Outage != nil && fault.Unreachable(s.err)
		if !wants || s.dynamic || s.location.Write {
			continue
		}
		read, known := r.outages.Recall(s.outageKey(p.namespace, workloadKey(s.config, workload)), s.fields())
		if !known {
			continue
		}
		now, looked := credentials[s.config.UID]
		if !looked {
			now.fingerprint, now.err = sessions.Credential(ctx, s.config)
			credentials[s.config.UID] = now
		}
		if now.err != nil || now.fingerprint != read.Credential {
			continue // s.err says already that Vault cannot be reached
		}
		use := Use{Namespace: p.namespace, Path: read.Path, KV2Engine: read.KV2Engine}
		if access.permit(ctx, s.config, use) != nil {
			continue
		}
		outcome := fault.From(s.err)
		s.path, s.key, s.readKey, s.err = read.Path, read.Revision, read.Revision, nil
		if p.keep(s, read.Secret); s.err != nil {
			continue
		}
		s.version = r.versions.Record(s.key, read.Secret, s.fields(), read.Started)
		p.served.add(read.Started, outcome)
	}
}

// adopt takes what was to be issued for a read, because nothing was made: the volume is served with it as with any
// secret without versions.
func (r *secretReader) adopt(s *source, p *plan, started time.Time) {
	s.dynamic, s.issued, s.key = false, nil, s.readKey
	r.versions.BeginRead(p.namespace, s.key, s.place())
	s.version = r.versions.Record(s.key, s.secret, s.fields(), started)
}

// keep has a source keep what the request wants of a secret, if there is room for it.
func (p *plan) keep(s *source, secret *secrets.Secret) {
	s.keep(secret, !p.keysOnly)
	if err := p.memory.reserve(s.path, s.secret.Data); err != nil {
		s.secret, s.err = nil, err
	}
}

// forget drops what is known of the secret at a path, because it was changed.
func (r *secretReader) forget(path string) {
	r.versions.Invalidate(path)
	r.burst.Invalidate(path)
	r.outages.ForgetPlace(path)
}
