package vaulttask

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/controllers/vaulttask/claims"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/requeue"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/shares"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// +kubebuilder:rbac:groups=sallyport.dev,resources=vaulttasks,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=sallyport.dev,resources=vaulttasks/status,verbs=get;update;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

const (
	// workers is how many tasks run at a time. Each waits for Vault and the API server most of its time. A namespace has
	// sixteen of them at most.
	workers = 64
	// attemptTime bounds one attempt: to find the Vault and log in there, and after that two requests of the longest
	// time-out that a VaultConfig may set. One that has begun must not be cut off while its answer may still come: then
	// somebody would have to find out what became of it.
	attemptTime = requeue.LookTime + 2*time.Minute
)

// Reconciler reconciles VaultTasks.
type Reconciler struct {
	client   client.Client
	live     client.Reader
	engine   *resolver.Engine
	sessions *session.Sessions
	recorder events.EventRecorder
	clock    clock.PassiveClock
	claims   *claims.Store[outcome]
	own      ownSessions
	// written is what tasks write and hand out at one moment, reading the objects that they take it from.
	written, reading *shares.Gate
}

// NewReconciler returns a reconciler. live reads from the API server, not from a cache: whether a task was claimed
// already must not be decided on what was true a moment ago. Only where status says that nothing ever was, and the
// claim comes before anything else that leaves a trace, is the cache good enough.
func NewReconciler(
	c client.Client, live client.Reader, engine *resolver.Engine, sessions *session.Sessions,
	recorder events.EventRecorder,
	clk clock.PassiveClock,
) *Reconciler {
	return &Reconciler{
		client: c, live: live, engine: engine, sessions: sessions, recorder: recorder, clock: clk,
		claims: claims.NewStore[outcome](), own: ownSessions{uids: map[types.NamespacedName]types.UID{}},
		written: shares.NewGate(heap.Tasks, heap.TasksShare), reading: shares.NewGate(heap.Reading, heap.ReadingShare),
	}
}

// SetupWithManager registers the reconciler with a manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("vaulttask").
		For(&v1alpha1.VaultTask{}, builder.WithPredicates(predicate.Or(
			predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, predicate.LabelChangedPredicate{}))).
		WithOptions(requeue.Options(workers)).
		Complete(r)
}

// Reconcile does what is due for a task: runs it, takes up a run that was interrupted, waits for its schedule, or
// deletes it. A finished task costs one cached read.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	cached := &v1alpha1.VaultTask{}
	if err := r.client.Get(ctx, request.NamespacedName, cached); err != nil {
		return r.gone(request, err)
	}
	if next := due(cached, r.clock.Now()); next.action == rest && r.unstored(cached) == nil && !unseen(cached) {
		return ctrl.Result{RequeueAfter: next.after}, nil
	}
	if untouched(cached) {
		// What is first written is its claim, which the API server refuses if the cache was old: one read less for most
		// tasks.
		result, err := r.proceed(ctx, cached)
		if !apierrors.IsConflict(err) {
			return result, err
		}
	}
	task := &v1alpha1.VaultTask{}
	if err := r.live.Get(ctx, request.NamespacedName, task); err != nil {
		return r.gone(request, err)
	}
	return r.proceed(ctx, task)
}

// proceed does what is due for a task.
func (r *Reconciler) proceed(ctx context.Context, task *v1alpha1.VaultTask) (ctrl.Result, error) {
	if !task.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	if out := r.unstored(task); out != nil {
		return r.storeOutcome(ctx, task, out)
	}
	next := due(task, r.clock.Now())
	switch next.action {
	case rest:
		return ctrl.Result{RequeueAfter: next.after}, r.see(ctx, task)
	case remove:
		return ctrl.Result{}, r.remove(ctx, task)
	case run:
		return r.run(ctx, task, next)
	case keepSuspended, waitForSchedule, refuse:
	}
	before := task.DeepCopy()
	next.describe(task)
	r.noteConnection(ctx, task)
	if err := r.store(ctx, before, task); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	return ctrl.Result{RequeueAfter: next.after}, nil
}

// run makes one attempt, stores how it went and decides whether to come back.
func (r *Reconciler) run(ctx context.Context, task *v1alpha1.VaultTask, next decision) (ctrl.Result, error) {
	a := &attempt{Reconciler: r, task: task, before: task.DeepCopy()}
	defer a.forgetData()
	if fresh(task) {
		begin(task, next.scheduledTime, r.clock.Now())
	}
	a.state = r.claims.Get(client.ObjectKeyFromObject(task), task.Status.Claim)
	a.resumed = a.state.Called()
	out, err := a.execute(transport.OnBehalfOf(ctx, task.Namespace))
	if a.claimErr != nil {
		return ctrl.Result{}, client.IgnoreNotFound(a.claimErr)
	}
	if f := a.classify(err); f != nil {
		late := a.givenUp(f)
		if late == nil {
			return r.retry(ctx, a, f)
		}
		err = late
	}
	if err != nil {
		fail(task, fault.From(err), r.clock.Now())
	} else {
		a.state.Finish(out)
		complete(task, out, r.clock.Now())
	}
	return r.end(ctx, a.before, task)
}

// retry stores what the run waits for, and says when to come back.
func (r *Reconciler) retry(ctx context.Context, a *attempt, f *fault.Fault) (ctrl.Result, error) {
	a.releaseClaim(f)
	pending(a.task, f)
	if err := r.store(ctx, a.before, a.task); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	return nextAttempt(a.task, f, r.clock.Now())
}

// storeOutcome stores an outcome that could not be stored when it came about. It stands over what another controller
// made of the claim: that one cannot know better.
func (r *Reconciler) storeOutcome(ctx context.Context, task *v1alpha1.VaultTask, out *outcome) (ctrl.Result, error) {
	before := task.DeepCopy()
	complete(task, out, r.clock.Now())
	return r.end(ctx, before, task)
}

// end stores the end of a run, and comes back when something else is due.
func (r *Reconciler) end(ctx context.Context, before, task *v1alpha1.VaultTask) (ctrl.Result, error) {
	if err := r.store(ctx, before, task); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	r.forget(client.ObjectKeyFromObject(task))
	switch next := due(task, r.clock.Now()); next.action {
	case run, remove:
		return ctrl.Result{RequeueAfter: time.Millisecond}, nil
	default:
		return ctrl.Result{RequeueAfter: next.after}, nil
	}
}

// nextAttempt returns when to try once more: as for any fault, but no later than the run's deadline.
func nextAttempt(task *v1alpha1.VaultTask, f *fault.Fault, now time.Time) (ctrl.Result, error) {
	result, err := requeue.For(f)
	if limit := task.Spec.ActiveDeadlineSeconds; limit != nil && task.Status.StartTime != nil {
		left := max(time.Second, task.Status.StartTime.Add(time.Duration(*limit)*time.Second).Sub(now))
		if err != nil && left < requeue.MaxBackoff || result.RequeueAfter > left {
			return ctrl.Result{RequeueAfter: left}, nil
		}
	}
	return result, err
}

// remove deletes a task whose time after its end is over, unless somebody changed it since it was read.
func (r *Reconciler) remove(ctx context.Context, task *v1alpha1.VaultTask) error {
	err := r.client.Delete(ctx, task, client.Preconditions{UID: &task.UID, ResourceVersion: &task.ResourceVersion})
	return client.IgnoreNotFound(err)
}

// gone forgets what is known of a task that was deleted.
func (r *Reconciler) gone(request ctrl.Request, err error) (ctrl.Result, error) {
	if client.IgnoreNotFound(err) == nil {
		r.forget(request.NamespacedName)
	}
	return ctrl.Result{}, client.IgnoreNotFound(err)
}

// forget drops what is only needed while a task runs: the states of its claims, and its own sessions with Vault.
func (r *Reconciler) forget(task types.NamespacedName) {
	r.claims.Forget(task)
	if uid, found := r.own.remove(task); found {
		r.sessions.Forget(uid)
	}
}

func isTrue(b *bool) bool { return ptr.Deref(b, false) }
