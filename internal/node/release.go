package node

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/codes"

	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	releaseBackoffMin = 5 * time.Second
	releaseBackoffMax = 10 * time.Minute
)

// resumeReleases takes over what an earlier process could not give back any more.
func (d *Driver) resumeReleases(ctx context.Context) error {
	names, broken, err := d.releases.load()
	for _, path := range broken {
		logr.FromContextOrDiscard(ctx).Info(messageReleaseUnreadable, keyPath, path)
	}
	for _, name := range names {
		d.releaseDue.AddAfter(name, rand.N(refreshSoon))
	}
	return err
}

// release gives the leases of one volume that is gone back to a resolver. The right to do so is the plugin's own: the
// pod, and its token, may be gone as well.
func (d *Driver) release(ctx context.Context, name string) {
	wanted, ok := d.releases.get(name)
	if !ok || ctx.Err() != nil {
		return
	}
	asking, cancel := context.WithTimeout(ctx, d.config.ResolveTimeout)
	defer cancel()
	err := d.config.Resolver.Release(asking, &resolverv1.ReleaseRequest{Leases: wanted.Leases})
	if err != nil && ctx.Err() != nil {
		return // stopping; the next process goes on
	}
	d.metrics.released(err)
	logger := logr.FromContextOrDiscard(ctx).WithValues(keyPod, wanted.Pod)
	if err != nil {
		reason, sentence, _ := answer(err)
		logger = logger.WithValues(keyReason, reason, keySentence, sentence)
		if mayPass(err) {
			delay := jitter(d.releaseBackoff.When(name))
			logger.Info(messageReleaseFailed, keyRetryAfter, delay)
			d.releaseDue.AddAfter(name, delay)
			return
		}
		logger.Info(messageReleaseRefused)
	} else {
		logger.Info(messageReleased)
	}
	d.releaseBackoff.Forget(name)
	if err := d.releases.remove(name); err != nil {
		logger.Error(err, messageCleanupFailed)
	}
}

// mayPass tells whether a refused release may succeed later, as the protocol has it. What is not allowed may be allowed
// again: the service account's name or a policy in Vault was wrong for a while.
func mayPass(err error) bool {
	f := fault.From(err)
	return f.Class == fault.ClassTransient || fault.Code(f.Reason) == codes.PermissionDenied
}
