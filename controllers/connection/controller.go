package connection

import (
	"context"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/requeue"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/status"
	"sallyport.dev/sallyport/internal/tracing"
)

// +kubebuilder:rbac:groups=sallyport.dev,resources=connections,verbs=get;list;watch
// +kubebuilder:rbac:groups=sallyport.dev,resources=connections/status,verbs=get;update;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// unmountedFactor is how many refresh intervals pass between two looks at a Connection that nobody mounts.
const unmountedFactor = 4

// Reconciler reconciles Connections.
type Reconciler struct {
	client   client.Client
	engine   *resolver.Engine
	recorder events.EventRecorder

	mu sync.Mutex
	// revisions are those that status already speaks of: while one is current, checking costs at most one read per
	// secret and interval, shared with the volumes that mount it.
	revisions map[types.NamespacedName]revision
}

// revision is one that status speaks of, and the value of the annotation sallyport.dev/refresh then: with another one
// it does not count, and Vault is asked.
type revision struct{ revision, refresh string }

// NewReconciler returns a reconciler.
func NewReconciler(c client.Client, engine *resolver.Engine, recorder events.EventRecorder) *Reconciler {
	return &Reconciler{client: c, engine: engine, recorder: recorder, revisions: map[types.NamespacedName]revision{}}
}

// SetupWithManager registers the reconciler with a manager, whose indexer Index was called for.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("connection").
		For(&v1alpha1.Connection{},
			builder.WithPredicates(predicate.Or[client.Object](
				predicate.GenerationChangedPredicate{}, firstMounted, requeue.Refreshed))).
		Watches(&v1alpha1.VaultConfig{}, handler.EnqueueRequestsFromMapFunc(r.usersOf),
			builder.WithPredicates(configChanged)).
		WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.inNamespace),
			builder.WithPredicates(labelsChanged)).
		WithOptions(requeue.Options(requeue.VaultWorkers)).
		Complete(r)
}

// Reconcile resolves a Connection once and reports what it found.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	connection := &v1alpha1.Connection{}
	if err := r.client.Get(ctx, request.NamespacedName, connection); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.forget(request.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !connection.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	resolved, err := r.check(ctx, connection)
	if err == nil && resolved.Unchanged {
		return ctrl.Result{RequeueAfter: next(connection, resolved)}, nil
	}
	r.forget(request.NamespacedName)
	var f *fault.Fault
	if err != nil {
		f = fault.From(err)
	}
	if err := r.report(ctx, connection, resolved, f); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if f != nil {
		return requeue.For(f)
	}
	r.remember(connection, resolved.Revision)
	return ctrl.Result{RequeueAfter: next(connection, resolved)}, nil
}

// check resolves a Connection in the time that a look may take. After an edit, also of what no file shows, it is looked
// at anew: status speaks of the former generation.
func (r *Reconciler) check(
	ctx context.Context, connection *v1alpha1.Connection,
) (_ *resolver.Resolved, err error) {
	ctx, span := tracing.Start(ctx, tracing.Internal, "check", fault.KindConnection)
	span.About(fault.Subject{Kind: fault.KindConnection, Namespace: connection.Namespace, Name: connection.Name})
	defer func() { span.End(err) }()
	ctx, cancel := context.WithTimeout(ctx, requeue.LookTime)
	defer cancel()
	return r.engine.Check(ctx, connection, r.known(connection))
}

// next is when to look again at a Connection that can be resolved. One that is mounted is looked at whenever its
// volumes are, which then costs nothing. Of one that nobody mounts only status gets old.
func next(connection *v1alpha1.Connection, resolved *resolver.Resolved) time.Duration {
	if mounted(connection) {
		return resolved.RefreshAfter
	}
	return unmountedFactor * resolved.RefreshAfter
}

// report stores the outcome in status where it differs, and tells of transitions in an event.
func (r *Reconciler) report(
	ctx context.Context, connection *v1alpha1.Connection, resolved *resolver.Resolved, f *fault.Fault,
) error {
	before := connection.Status.DeepCopy()
	connection.Status.ObservedGeneration = connection.Generation
	if f != nil {
		status.NotReady(&connection.Status.Conditions, connection.Generation, f)
	} else {
		connection.Status.Secrets = resolved.Secrets
		status.Ready(&connection.Status.Conditions, connection.Generation, readyMessage(resolved))
	}
	if equality.Semantic.DeepEqual(*before, connection.Status) {
		return nil
	}
	if err := status.PatchConnection(ctx, r.client, connection, before); err != nil {
		return err
	}
	if status.Changed(before.Conditions, connection.Status.Conditions, v1alpha1.ConditionReady) {
		ready := meta.FindStatusCondition(connection.Status.Conditions, v1alpha1.ConditionReady)
		kind := corev1.EventTypeWarning
		if ready.Status == metav1.ConditionTrue {
			kind = corev1.EventTypeNormal
		}
		r.recorder.Eventf(connection, nil, kind, ready.Reason, "Check", "%s", status.Note(ready.Message))
	}
	return nil
}

// readyMessage says what was checked.
func readyMessage(resolved *resolver.Resolved) string {
	message := "every reference can be resolved"
	if len(resolved.Deferred) > 0 {
		message = "syntax and references are right; each pod reads with its own identity, so whether it may shows there (VaultConfig " +
			strings.Join(resolved.Deferred, ", ") + ")"
	}
	if len(resolved.Dynamic) > 0 {
		message += "; made for each volume when it is mounted: " + strings.Join(resolved.Dynamic, ", ")
	}
	if len(resolved.Absent) > 0 {
		message += "; not there, and not needed: " + strings.Join(resolved.Absent, ", ")
	}
	return message
}

func (r *Reconciler) known(connection *v1alpha1.Connection) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.revisions[client.ObjectKeyFromObject(connection)]
	if connection.Status.ObservedGeneration != connection.Generation ||
		known.refresh != connection.Annotations[v1alpha1.AnnotationRefresh] {
		return ""
	}
	return known.revision
}

func (r *Reconciler) remember(connection *v1alpha1.Connection, current string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := connection.Annotations[v1alpha1.AnnotationRefresh]
	r.revisions[client.ObjectKeyFromObject(connection)] = revision{current, asked}
}

func (r *Reconciler) forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.revisions, key)
}
