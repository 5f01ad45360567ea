package resolver

import (
	"context"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

// readTimeout bounds one shared read; it outlives the caller who happened to start it.
const readTimeout = 15 * time.Second

// secretReader reads secrets from Vault so that the number of requests follows that of secrets: concurrent callers
// share one read, and so do the volumes of a burst and those that refresh within the same interval.
type secretReader struct {
	clock    clock.PassiveClock
	flights  singleflight.Group
	versions *versionCache
	burst    *burstCache
}

func newSecretReader(clk clock.PassiveClock) *secretReader {
	return &secretReader{clock: clk, versions: newVersionCache(clk), burst: newBurstCache(clk)}
}

// poll learns the version of every source, from the cache where a read of the current interval has been seen. A source
// that it had to read keeps the secret for the rest of the request.
func (r *secretReader) poll(ctx context.Context, p *plan, interval time.Duration) {
	inParallel(ctx, p.sources, func(s *source) {
		if s.err != nil || s.absent() {
			return
		}
		var fresh bool
		if s.version, fresh, s.err = r.versions.Get(s.key, s.fields(), interval); !fresh {
			r.read(ctx, s, p)
			return
		}
		if secrets.MadeLease(s.err) {
			s.dynamic, s.version, s.err = true, "", nil
		}
	})
}

// readAll reads every source that the request does not hold already. One that turns out to be dynamic is left to
// plan.issue.
func (r *secretReader) readAll(ctx context.Context, p *plan) {
	inParallel(ctx, p.sources, func(s *source) {
		if s.err == nil && s.secret == nil && !s.absent() {
			r.read(ctx, s, p)
		}
	})
}

// read reads a secret from Vault, sharing the result with all callers while the request is under way, and for
// volumes with those of the same burst. The version cache remembers when it was read and which version it had.
func (r *secretReader) read(ctx context.Context, s *source, p *plan) {
	id := r.versions.BeginRead(p.namespace, s.key, s.place())
	if p.forVolume {
		if got, ok := r.burst.Get(id); ok {
			r.take(got, s, p)
			return
		}
	}
	result := r.flights.DoChan(id, func() (any, error) {
		// Detached, because the caller who starts the read may leave while others still wait for it.
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
		defer cancel()
		started := r.clock.Now()
		var secret *secrets.Secret
		err := fault.Guard(shared, func() (err error) { secret, err = s.fetch(shared); return err })
		if err != nil {
			r.versions.RecordFailure(s.key, err)
			return nil, err
		}
		got := readResult{secret: secret, started: started}
		r.versions.Record(s.key, secret, nil, started)
		r.burst.Put(id, s.place(), got, started)
		return got, nil
	})
	select {
	case <-ctx.Done():
		s.err = ctx.Err()
	case shared := <-result:
		if secrets.MadeLease(shared.Err) {
			s.dynamic, s.version = true, ""
			return
		}
		if s.err = shared.Err; s.err == nil {
			if got, ok := shared.Val.(readResult); ok {
				r.take(got, s, p)
			}
		}
	}
}

// take has a source keep what it wants of a secret that was read, for itself or with others.
func (r *secretReader) take(got readResult, s *source, p *plan) {
	p.keep(s, got.secret)
	s.version = r.versions.Record(s.key, got.secret, s.fields(), got.started)
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
}
