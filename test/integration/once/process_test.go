package once

import (
	"context"
	"errors"
	"sync/atomic"

	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/controllers/vaulttask"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/vault/session"
)

var errInjected = errors.New("the API server went away")

// statusFault is what happens to one write of a task's status.
type statusFault int

const (
	none statusFault = iota
	// lost: it never arrived.
	lost
	// unanswered: it was stored, and the answer never came.
	unanswered
	// conflict: somebody touched the object just before.
	conflict
)

// process is one controller process, as far as VaultTasks go. It remembers what a process remembers, and nothing else.
type process struct {
	reconciler *vaulttask.Reconciler
	writes     atomic.Int64
}

// newProcess starts a controller. faults are what happens to its writes of status, by their number. Its cache holds the
// task as it was created, whatever happened since, unless old is nil.
func newProcess(base client.WithWatch, faults map[int64]statusFault, old *v1alpha1.VaultTask) *process {
	p := &process{}
	c := interceptor.NewClient(base, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if task, ok := object.(*v1alpha1.VaultTask); ok && old != nil {
				old.DeepCopyInto(task)
				return nil
			}
			return c.Get(ctx, key, object, options...)
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, name string, object client.Object, options ...client.SubResourceUpdateOption) error {
			switch faults[p.writes.Add(1)] {
			case lost:
				return errInjected
			case unanswered:
				if err := c.SubResource(name).Update(ctx, object, options...); err != nil {
					return err
				}
				return errInjected
			case conflict:
				other := &v1alpha1.VaultTask{}
				if err := base.Get(ctx, client.ObjectKeyFromObject(object), other); err != nil {
					return err
				}
				other.Labels = map[string]string{"touched": "yes"}
				if err := c.Update(ctx, other); err != nil {
					return err
				}
			case none:
			}
			return c.SubResource(name).Update(ctx, object, options...)
		},
	})
	sessions, err := session.NewSessions(session.Options{Reader: base})
	if err != nil {
		panic(err)
	}
	engine := resolver.NewEngine(base, sessions, clock.RealClock{})
	p.reconciler = vaulttask.NewReconciler(c, base, engine, sessions, events.NewFakeRecorder(100), clock.RealClock{})
	return p
}

// reconcile makes one pass. Its error is the queue's business, which this test stands for.
func (p *process) reconcile(task *v1alpha1.VaultTask) {
	_, _ = p.reconciler.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(task)})
}
