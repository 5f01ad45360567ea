package lease

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault"
)

const (
	// giveBackTimeout bounds the attempt to give a lease back that nobody got.
	giveBackTimeout = 15 * time.Second
	// releasePause is the pause before another attempt to give back what was replaced.
	releasePause = time.Minute
	// clockTolerance is how long after its end in the books a lease is still tried to be given back.
	clockTolerance = time.Hour
)

// Keeper tends the leases of volumes. It is safe for concurrent use.
type Keeper struct {
	objects  client.Reader
	pods     client.Reader
	sessions *vault.Sessions
	sealer   sealer
	clock    clock.PassiveClock
	log      logr.Logger
	awaited  awaited
	renewals renewals
}

// Options are what a Keeper needs, all of it.
type Options struct {
	// Objects finds VaultConfigs, a cached reader.
	Objects client.Reader
	// Pods finds pods as they are, which no cache does.
	Pods client.Reader
	// Sessions with Vault.
	Sessions *vault.Sessions
	// Secrets of Sallyport's own namespace, where the key is.
	Secrets corev1client.SecretInterface
	Clock   clock.PassiveClock
	Log     logr.Logger
}

// NewKeeper returns a keeper.
func NewKeeper(o Options) *Keeper {
	return &Keeper{
		objects: o.Objects, pods: o.Pods, sessions: o.Sessions, sealer: sealer{secrets: o.Secrets}, clock: o.Clock, log: o.Log,
		awaited: awaited{volumes: map[string]*waiting{}}, renewals: renewals{terms: map[string]term{}},
	}
}

// Open returns the ledger of a volume. Leases that were sealed with a key which is gone are nobody's any more: the volume gets others. Errors are
// faults.
func (k *Keeper) Open(ctx context.Context, sealed []byte, of Volume) (*Ledger, error) {
	empty := &Ledger{Volume: of}
	if len(sealed) == 0 {
		return empty, nil
	}
	l, err := k.sealer.open(ctx, sealed)
	switch {
	case errors.Is(err, errNotSealed):
		k.log.Info("leases that cannot be read are left to their own end", "namespace", of.Namespace, "pod", of.PodName)
		return empty, nil
	case err != nil:
		return nil, err
	case l.Volume.key() != of.key() || l.Volume.Node != of.Node:
		return nil, fault.Waiting(v1alpha1.ReasonNotAllowed, "the leases belong to another volume than that of pod %s/%s", of.Namespace, of.PodName)
	}
	return l, nil
}

// Seal returns the ledger for the node to keep; empty if the volume has nothing.
func (k *Keeper) Seal(ctx context.Context, l *Ledger) ([]byte, error) {
	if len(l.Holdings) == 0 {
		return nil, nil
	}
	return k.sealer.seal(ctx, l)
}

// HandOver brings the ledger to what the volume's files will hold, see Ledger.Update, and seals it for the node. What was made is awaited from then on.
func (k *Keeper) HandOver(ctx context.Context, l *Ledger, wanted []string, made []Made) ([]byte, error) {
	l.Update(wanted, made, k.clock.Now())
	sealed, err := k.Seal(ctx, l)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err() // nobody waits for the answer
	}
	k.Await(l, made)
	return sealed, nil
}

// Tend renews what is due, gives back what was replaced, and finds out what must be replaced: see Ledger.Held. It does what it can; what
// fails is tried at the next request.
func (k *Keeper) Tend(ctx context.Context, l *Ledger, workload *vault.Workload) {
	kept := l.Holdings[:0]
	for _, h := range l.Holdings {
		if k.tend(ctx, &h, workload, l.Volume.Namespace) {
			kept = append(kept, h)
		}
	}
	l.Holdings = kept
}

// tend looks after one holding and tells whether it is still there. That is for Vault to say: the books may be behind, because an answer with
// newer ones did not reach the node, and clocks differ.
func (k *Keeper) tend(ctx context.Context, h *Holding, workload *vault.Workload, namespace string) bool {
	now := k.clock.Now()
	if h.LeaseID == "" {
		h.due = passed(h.replaceAt(), now)
		return true
	}
	k.renewals.bring(h)
	session, err := k.session(ctx, h, namespace, workload)
	if err != nil {
		h.due = passed(h.replaceAt(), now)
		if fault.Is(err, v1alpha1.ReasonConfigNotFound) && (h.expired(now) || !h.ReleaseAt.IsZero()) {
			leases.WithLabelValues(actionLeft).Inc()
			return false
		}
		return true
	}
	*h = h.following(session.TokenTerm(), now)
	switch {
	case !h.ReleaseAt.IsZero():
		return !passed(h.ReleaseAt, now) || !k.retire(ctx, session, h)
	case passed(h.renewAt(), now):
		return k.renew(ctx, session, h)
	}
	h.due = passed(h.replaceAt(), now)
	_, err = session.LookUpLease(ctx, vault.NewLeaseID(h.LeaseID))
	return !errors.Is(err, vault.ErrLeaseGone) // any other failure says nothing about the lease
}

// retire gives back what was replaced and tells whether that is settled. What the policy does not let be given back is left to its own end.
func (k *Keeper) retire(ctx context.Context, session *vault.Session, h *Holding) bool {
	err := k.revoke(ctx, session, h)
	switch {
	case err == nil:
		return true
	case fault.From(err).Class != fault.ClassTransient:
		leases.WithLabelValues(actionLeft).Inc()
		return true
	}
	h.ReleaseAt = k.clock.Now().Add(releasePause)
	return false
}

// renew renews a lease and tells whether it is still there. What cannot be renewed, or not for long, is due.
func (k *Keeper) renew(ctx context.Context, session *vault.Session, h *Holding) bool {
	id := vault.NewLeaseID(h.LeaseID)
	renewed, err := session.RenewLease(ctx, id, h.Granted)
	now := k.clock.Now()
	switch {
	case err == nil:
		leases.WithLabelValues(actionRenewed).Inc()
		h.Since, h.Expires = now, now.Add(renewed.Duration)
		k.renewals.note(h)
		h.due = renewed.Duration < h.Granted/2 || passed(h.replaceAt(), now)
	case errors.Is(err, vault.ErrLeaseGone):
		if _, err = session.LookUpLease(ctx, id); errors.Is(err, vault.ErrLeaseGone) {
			return false
		}
		h.due = true
	case fault.Is(err, v1alpha1.ReasonPermissionDenied):
		h.due = true
	default:
		h.due = passed(h.replaceAt(), now)
	}
	return true
}

// Sooner is the time after which the volume should come again: after, or when the ledger needs it if that is sooner.
func (k *Keeper) Sooner(l *Ledger, after time.Duration) time.Duration {
	if next := l.NextAction(); !next.IsZero() {
		after = min(after, next.Sub(k.clock.Now()))
	}
	return max(after, time.Second)
}

// Release gives back all leases of a volume that is gone, on behalf of the node that had it. It succeeds if nothing is left of them. Errors
// are faults; unless it is Terminal, it is worth another attempt.
func (k *Keeper) Release(ctx context.Context, sealed []byte, node string) error {
	l, err := k.sealer.open(ctx, sealed)
	switch {
	case errors.Is(err, errNotSealed):
		return fault.Terminal(v1alpha1.ReasonInvalidRequest, "the leases were sealed with a key that is gone; they run out by themselves")
	case err != nil:
		return err
	case l.Volume.Node != node:
		return fault.Terminal(v1alpha1.ReasonNotAllowed, "the leases belong to a volume of another node than %s", node)
	}
	// Not what else is awaited of the volume: it may have been published again meanwhile.
	k.awaited.take(l.Volume, func(h Holding) bool { return l.has(h.ID) })
	for _, h := range l.Holdings {
		if failed := k.release(ctx, &h, l.Volume.Namespace); failed != nil && err == nil {
			err = fault.From(failed).WithClass(fault.ClassTransient)
		}
	}
	return err
}

// GiveBack gives back what was made and reached no volume. What fails is tried again later.
func (k *Keeper) GiveBack(ctx context.Context, namespace string, made []Made) {
	for _, m := range made {
		k.giveBack(ctx, debt{namespace: namespace, holding: m.holding(k.clock.Now())})
	}
}

// giveBack tells whether the matter is settled.
func (k *Keeper) giveBack(ctx context.Context, d debt) bool {
	// Whoever asked may be gone already, which can be the reason.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTimeout)
	defer cancel()
	err := k.release(ctx, &d.holding, d.namespace)
	if err == nil {
		return true
	}
	f := fault.From(err)
	if f.Class == fault.ClassTransient && k.awaited.owe(d) {
		return false
	}
	leases.WithLabelValues(actionLeft).Inc()
	k.log.Info("a lease that reached no volume is left to its own end", "reason", f.Reason, "message", f.Message())
	return true
}

// release gives one lease back. There is nothing to do for one that ran out long ago, or whose VaultConfig is gone, or that only a pod which is
// gone could give back.
func (k *Keeper) release(ctx context.Context, h *Holding, namespace string) error {
	if h.LeaseID == "" {
		return nil
	}
	session, err := k.session(ctx, h, namespace, nil)
	if err == nil {
		err = k.revoke(ctx, session, h)
	}
	switch {
	case fault.Is(err, v1alpha1.ReasonConfigNotFound), h.ServiceAccount != "" && fault.Is(err, v1alpha1.ReasonCredentialMissing),
		err != nil && h.expired(k.clock.Now().Add(-clockTolerance)):
		leases.WithLabelValues(actionLeft).Inc()
		return nil
	}
	return err
}

func (k *Keeper) revoke(ctx context.Context, session *vault.Session, h *Holding) error {
	err := session.RevokeLease(ctx, vault.NewLeaseID(h.LeaseID))
	if err == nil {
		leases.WithLabelValues(actionReleased).Inc()
	}
	return err
}

// session returns the session that a holding is tended with. A VaultConfig that is disabled serves what it has made.
func (k *Keeper) session(ctx context.Context, h *Holding, namespace string, workload *vault.Workload) (*vault.Session, error) {
	config := &v1alpha1.VaultConfig{}
	err := k.objects.Get(ctx, h.Config, config)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return nil, fault.Transient(v1alpha1.ReasonInternal, "VaultConfig %s cannot be read from the Kubernetes API", h.Config)
	case err != nil || config.UID != h.ConfigUID || vaultOf(config) != h.Vault:
		return nil, fault.Waiting(v1alpha1.ReasonConfigNotFound, "VaultConfig %s, which the lease was made through, does not exist any more, or is about another Vault", h.Config)
	}
	if workload == nil && h.ServiceAccount != "" {
		workload = &vault.Workload{Namespace: namespace, ServiceAccount: h.ServiceAccount}
	}
	return k.sessions.ForWorkload(ctx, config, workload)
}

// podGone tells whether a volume's pod does not exist any more.
func (k *Keeper) podGone(ctx context.Context, v Volume) bool {
	pod := &corev1.Pod{}
	err := k.pods.Get(ctx, types.NamespacedName{Namespace: v.Namespace, Name: v.PodName}, pod)
	if err != nil {
		return client.IgnoreNotFound(err) == nil
	}
	return pod.UID != v.PodUID
}
