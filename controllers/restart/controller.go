package restart

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/requeue"
	"sallyport.dev/sallyport/internal/status"
)

// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets;daemonsets,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=argoproj.io,resources=rollouts,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=sallyport.dev,resources=connections,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler reconciles the workloads of one kind.
type Reconciler struct {
	kind     kind
	client   client.Client
	cached   client.Reader
	live     client.Reader
	recorder events.EventRecorder
	clock    clock.PassiveClock
	batches  *batches
	// told are the workloads whose restart waits, by name, and what was said of that: once and not at every look.
	told sync.Map
}

// NewReconcilers returns a reconciler for each kind of workload. Only the metadata of workloads are cached; live reads
// the few that ask for restarts from the API server. cached is the cache itself: of a Connection only status matters.
func NewReconcilers(
	c client.Client, cached, live client.Reader, recorder events.EventRecorder, clk clock.PassiveClock,
) []*Reconciler {
	reconcilers := make([]*Reconciler, 0, len(kinds()))
	all := &batches{live: live, clock: clk, kinds: kinds()}
	for _, k := range kinds() {
		reconcilers = append(reconcilers, &Reconciler{
			kind: k, client: c, cached: cached, live: live, recorder: recorder, clock: clk, batches: all,
		})
	}
	return reconcilers
}

// SetupWithManager registers the reconciler with a manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("restart-"+strings.ToLower(r.kind.Kind)).
		Watches(&v1alpha1.Connection{}, handler.EnqueueRequestsFromMapFunc(r.besides),
			builder.WithPredicates(connectionChanged)).
		WatchesMetadata(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(r.within),
			builder.WithPredicates(labelsChanged)).
		WithOptions(requeue.Options(requeue.Workers))
	if !r.kind.optional {
		return b.For(r.kind.new(), builder.OnlyMetadata, builder.WithPredicates(workloadChanged)).Complete(r)
	}
	c, err := b.Build(r)
	if err != nil {
		return err
	}
	return watchOptional(mgr, r, c)
}

// connectionChanged lets a Connection wake workloads only when what is seen of it may have changed, not whenever its
// status is written.
var connectionChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*v1alpha1.Connection)
	if !ok {
		return false
	}
	after, ok := e.ObjectNew.(*v1alpha1.Connection)
	return ok && (currentAndReady(before) != currentAndReady(after) || digest(before) != digest(after))
}}

// workloadChanged lets a workload be looked at when somebody wrote it, not whenever its status is written.
var workloadChanged = predicate.Or[client.Object](
	predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{},
)

// labelsChanged lets a namespace wake its workloads when what it says for all of them changes.
var labelsChanged = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return e.Object.GetLabels()[v1alpha1.LabelRestartOnChange] != "" },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()
		return before[v1alpha1.LabelRestartOnChange] != after[v1alpha1.LabelRestartOnChange]
	},
	DeleteFunc: func(event.DeleteEvent) bool { return false },
}

// asks tells whether a workload asks for restarts, by its annotation, or without one by its namespace's label.
func asks(workload, namespace client.Object) bool {
	if value, given := workload.GetAnnotations()[v1alpha1.AnnotationRestartOnChange]; given {
		return value == "true"
	}
	return namespace.GetLabels()[v1alpha1.LabelRestartOnChange] == "true"
}

// namespace returns the metadata of a namespace. One that is not in the cache yet, or any more, says nothing: its event
// comes.
func (r *Reconciler) namespace(ctx context.Context, name string) (*metav1.PartialObjectMetadata, error) {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	err := r.client.Get(ctx, types.NamespacedName{Name: name}, namespace)
	return namespace, client.IgnoreNotFound(err)
}

// metadata returns an object that is read from the cache of metadata.
func (r *Reconciler) metadata() *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(r.kind.GroupVersionKind)
	return object
}

// besides maps a Connection to the workloads of its namespace that ask for restarts. Which of them mount it stands in
// their specs, which are not cached; they are few.
func (r *Reconciler) besides(ctx context.Context, connection client.Object) []ctrl.Request {
	namespace, err := r.namespace(ctx, connection.GetNamespace())
	if notCached(err) {
		return nil // as in workloads
	}
	if err != nil {
		log.FromContext(ctx).Error(err, "reading the namespace of a Connection")
		return nil
	}
	return r.workloads(ctx, connection.GetNamespace(), func(o client.Object) bool { return asks(o, namespace) })
}

// within maps a namespace to its workloads that say nothing themselves.
func (r *Reconciler) within(ctx context.Context, namespace client.Object) []ctrl.Request {
	return r.workloads(ctx, namespace.GetName(), func(o client.Object) bool {
		_, given := o.GetAnnotations()[v1alpha1.AnnotationRestartOnChange]
		return !given
	})
}

func (r *Reconciler) workloads(
	ctx context.Context, namespace string, wanted func(client.Object) bool,
) []ctrl.Request {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(r.kind.GroupVersion().WithKind(r.kind.Kind + "List"))
	err := r.client.List(ctx, list, client.InNamespace(namespace))
	if notCached(err) {
		return nil // all workloads are looked at when they come into the cache
	}
	if err != nil {
		log.FromContext(ctx).Error(err, "listing the workloads that a change may concern")
		return nil
	}
	var requests []ctrl.Request
	for i := range list.Items {
		if wanted(&list.Items[i]) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}

// notCached tells that there is no informer: none yet, or none at all of an optional kind.
func notCached(err error) bool {
	_, missing := errors.AsType[*cache.ErrResourceNotCached](err)
	return missing
}

// Reconcile compares what the workload's pods were last rolled for with the Connections as they are, and rolls them
// once if one of those has changed.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	wait, err := r.reconcile(ctx, request.NamespacedName)
	if wait <= 0 {
		r.told.Delete(request.NamespacedName)
		r.batches.leave(request.Namespace, r.member(request.Name))
	}
	if notCached(err) {
		err = nil
	}
	return ctrl.Result{RequeueAfter: wait}, client.IgnoreNotFound(err)
}

func (r *Reconciler) member(name string) member { return member{kind: r.kind.Kind, name: name} }

// reconcile returns after what time to look again, if the pods are to be rolled later.
func (r *Reconciler) reconcile(ctx context.Context, name types.NamespacedName) (time.Duration, error) {
	namespace, err := r.namespace(ctx, name.Namespace)
	if err != nil {
		return 0, err
	}
	metadata := r.metadata()
	if err := r.client.Get(ctx, name, metadata); err != nil || !asks(metadata, namespace) {
		return 0, err
	}
	behind, err := r.batches.behind(ctx, name.Namespace, r.member(name.Name), limitOf(namespace))
	if err != nil {
		return 0, err
	}
	if behind {
		return turnInterval, nil
	}
	workload := r.kind.new()
	if err := r.live.Get(ctx, name, workload); err != nil {
		return 0, err
	}
	if !asks(workload, namespace) || !workload.GetDeletionTimestamp().IsZero() {
		return 0, nil
	}
	template, err := r.kind.template(ctx, r.live, workload)
	if err != nil {
		return 0, err
	}
	before := parseSeen(workload.GetAnnotations()[v1alpha1.AnnotationSeen])
	now, err := r.look(ctx, name.Namespace, mounted(template), before)
	if err != nil {
		return 0, err
	}
	changed := now.seen.changedSince(before)
	if len(changed) == 0 || r.kind.progress(workload).idle {
		return 0, r.note(ctx, workload, before, now, nil)
	}
	wait, err := r.pace(ctx, workload, namespace, changed)
	if err != nil {
		return 0, err
	}
	if wait > 0 {
		now.seen.keep(before, changed)
		return wait, r.note(ctx, workload, before, now, nil)
	}
	defer r.batches.rolled(name.Namespace, r.member(name.Name))
	return 0, r.note(ctx, workload, before, now, changed)
}

// look returns what is seen of the Connections now. One that is not there or not Ready says nothing about its secrets,
// so what was seen before stays: a Vault that is down must roll nothing.
func (r *Reconciler) look(ctx context.Context, namespace string, names []string, before seen) (observation, error) {
	now := observation{seen: seen{}}
	for _, name := range names {
		connection := &v1alpha1.Connection{}
		err := r.cached.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, connection)
		if client.IgnoreNotFound(err) != nil {
			return observation{}, err
		}
		if err != nil || !currentAndReady(connection) {
			if digest, known := before[name]; known {
				now.seen[name] = digest
			}
			continue
		}
		now.seen[name] = digest(connection)
		now.unversioned = append(now.unversioned, unversioned(connection)...)
	}
	return now, nil
}

// note notes what was seen, and rolls the pods in the same write if something has changed. A Connection that is new to
// the workload rolls nothing: the edit of the template that brought it did.
func (r *Reconciler) note(
	ctx context.Context, workload client.Object, before seen, now observation, changed []string,
) error {
	text := now.seen.String()
	if text == before.String() {
		return nil
	}
	original, ok := workload.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("%T is no object", workload)
	}
	annotate(workload, v1alpha1.AnnotationSeen, text)
	if len(changed) > 0 {
		at := r.clock.Now()
		annotate(workload, v1alpha1.AnnotationRestartedAt, at.UTC().Format(time.RFC3339))
		r.kind.roll(workload, at, text)
	}
	// With the lock, or a second controller that believes itself leader could roll the pods once more.
	patch := client.MergeFromWithOptions(original, client.MergeFromWithOptimisticLock{})
	if err := r.client.Patch(ctx, workload, patch); err != nil {
		return err
	}
	if len(changed) > 0 {
		r.recorder.Eventf(workload, nil, corev1.EventTypeNormal, v1alpha1.ReasonRestarted, "Restart", "%s",
			status.Note("rolled, because a Connection that its pods mount changed: "+strings.Join(changed, ", ")))
	}
	if len(now.unversioned) > 0 {
		message := v1alpha1.AnnotationRestartOnChange + " does not see changes of secrets without versions, which only KV version 2 and static roles have: " +
			strings.Join(now.unversioned, ", ")
		r.recorder.Eventf(workload, nil, corev1.EventTypeWarning, v1alpha1.ReasonNoVersions, "Restart", "%s",
			status.Note(message))
	}
	return nil
}

func annotate(object metav1.Object, key, value string) {
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	object.SetAnnotations(annotations)
}
