// Package vaulttask reconciles VaultTasks: it runs each operation once and reports the outcome. Before a call that changes
// Vault it writes a claim to status, so that a controller that dies in between, or a second one that believes itself leader,
// can tell what was begun and does it at most once.
package vaulttask

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/requeue"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/vault"
)

// +kubebuilder:rbac:groups=sallyport.dev,resources=vaulttasks,verbs=get;list;watch
// +kubebuilder:rbac:groups=sallyport.dev,resources=vaulttasks/status,verbs=get;update;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler reconciles VaultTasks.
type Reconciler struct {
	client   client.Client
	live     client.Reader
	engine   *resolver.Engine
	sessions *vault.Sessions
	recorder events.EventRecorder
	clock    clock.PassiveClock
}

// NewReconciler returns a reconciler. live reads from the API server, not from a cache: whether a task was claimed already
// must not be decided on what was true a moment ago.
func NewReconciler(
	c client.Client, live client.Reader, engine *resolver.Engine, sessions *vault.Sessions, recorder events.EventRecorder, clk clock.PassiveClock,
) *Reconciler {
	return &Reconciler{client: c, live: live, engine: engine, sessions: sessions, recorder: recorder, clock: clk}
}

// SetupWithManager registers the reconciler with a manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("vaulttask").
		For(&v1alpha1.VaultTask{}, builder.WithPredicates(predicate.Or(
			predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		WithOptions(requeue.Options()).
		Complete(r)
}

// Reconcile runs a task that has not run yet, or takes up one whose run was interrupted. A finished task costs one cached read.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	cached := &v1alpha1.VaultTask{}
	if err := r.client.Get(ctx, request.NamespacedName, cached); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if finished(cached) {
		return ctrl.Result{}, nil
	}
	task := &v1alpha1.VaultTask{}
	if err := r.live.Get(ctx, request.NamespacedName, task); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if finished(task) || !task.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	run := &run{Reconciler: r, task: task, resumed: claimed(task)}
	result, err := run.execute(ctx)
	return r.settle(ctx, run, result, err)
}

// settle stores how the run went and decides whether to come back.
func (r *Reconciler) settle(ctx context.Context, run *run, result *v1alpha1.TaskResult, err error) (ctrl.Result, error) {
	if run.storeErr != nil {
		return ctrl.Result{}, client.IgnoreNotFound(run.storeErr)
	}
	before := run.task.DeepCopy()
	var pendingFault *fault.Fault
	if err == nil {
		complete(run.task, result, r.clock.Now())
	} else if f := fault.From(err); final(run, err) {
		fail(run.task, f, r.clock.Now())
	} else {
		if f.Class == fault.Terminal { // but an earlier attempt is not settled yet
			f = fault.Wait(f.Reason, "%s", f.Sentence)
		}
		pending(run.task, f)
		pendingFault = f
	}
	if err := r.store(ctx, before, run.task); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if pendingFault != nil {
		return requeue.For(pendingFault)
	}
	return ctrl.Result{}, nil
}

// finished tells whether the run that the annotation asks for has ended.
func finished(task *v1alpha1.VaultTask) bool {
	ended := meta.IsStatusConditionTrue(task.Status.Conditions, v1alpha1.ConditionComplete) ||
		meta.IsStatusConditionTrue(task.Status.Conditions, v1alpha1.ConditionFailed)
	return ended && answers(task)
}

// claimed tells whether a run was begun for what the annotation asks, and has not ended.
func claimed(task *v1alpha1.VaultTask) bool {
	return task.Status.Claim != nil && answers(task) && task.Status.CompletionTime == nil
}

// answers tells whether the status speaks of the run that the annotation asks for.
func answers(task *v1alpha1.VaultTask) bool {
	rerun := ""
	if task.Status.Claim != nil {
		rerun = task.Status.Claim.Rerun
	}
	return rerun == task.Annotations[v1alpha1.AnnotationRerun]
}
