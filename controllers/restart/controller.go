package restart

import (
	"context"
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
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
// +kubebuilder:rbac:groups=sallyport.dev,resources=connections,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// kind is one kind of workload.
type kind struct {
	name string
	// new returns an empty object.
	new func() client.Object
	// template of the object's pods.
	template func(client.Object) *corev1.PodTemplateSpec
}

func kinds() []kind {
	return []kind{
		kindOf("Deployment", func(w *appsv1.Deployment) *corev1.PodTemplateSpec { return &w.Spec.Template }),
		kindOf("StatefulSet", func(w *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &w.Spec.Template }),
		kindOf("DaemonSet", func(w *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &w.Spec.Template }),
	}
}

// kindOf is the kind whose objects are of type *T.
func kindOf[T any, P interface {
	*T
	client.Object
}](name string, template func(P) *corev1.PodTemplateSpec) kind {
	return kind{
		name: name,
		new:  func() client.Object { return P(new(T)) },
		template: func(o client.Object) *corev1.PodTemplateSpec {
			if workload, ok := o.(P); ok {
				return template(workload)
			}
			return nil
		},
	}
}

// Reconciler reconciles the workloads of one kind.
type Reconciler struct {
	kind     kind
	client   client.Client
	cached   client.Reader
	live     client.Reader
	recorder events.EventRecorder
}

// NewReconcilers returns a reconciler for each kind of workload. Only the metadata of workloads are cached; live reads
// the few that ask for restarts from the API server. cached is the cache itself: of a Connection only status matters.
func NewReconcilers(c client.Client, cached, live client.Reader, recorder events.EventRecorder) []*Reconciler {
	reconcilers := make([]*Reconciler, 0, len(kinds()))
	for _, k := range kinds() {
		reconcilers = append(reconcilers, &Reconciler{kind: k, client: c, cached: cached, live: live, recorder: recorder})
	}
	return reconcilers
}

// SetupWithManager registers the reconciler with a manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("restart-"+strings.ToLower(r.kind.name)).
		For(r.kind.new(), builder.OnlyMetadata, builder.WithPredicates(predicate.NewPredicateFuncs(optedIn))).
		Watches(&v1alpha1.Connection{}, handler.EnqueueRequestsFromMapFunc(r.workloadsFor),
			builder.WithPredicates(connectionChanged)).
		WithOptions(requeue.Options(requeue.Workers)).
		Complete(r)
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

// optedIn tells whether a workload asks for restarts, by its annotation.
func optedIn(workload client.Object) bool {
	return workload.GetAnnotations()[v1alpha1.AnnotationRestartOnChange] == "true"
}

// metadata returns an object that is read from the cache of metadata.
func (r *Reconciler) metadata() *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind(r.kind.name))
	return object
}

// workloadsFor maps a Connection to the workloads of its namespace that ask for restarts. Which of them mount it stands
// in their specs, which are not cached; they are few.
func (r *Reconciler) workloadsFor(ctx context.Context, connection client.Object) []ctrl.Request {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind(r.kind.name + "List"))
	err := r.client.List(ctx, list, client.InNamespace(connection.GetNamespace()))
	if _, early := errors.AsType[*cache.ErrResourceNotCached](err); early {
		return nil // all workloads are looked at when they come into the cache
	}
	if err != nil {
		log.FromContext(ctx).Error(err, "listing the workloads that a Connection may concern")
		return nil
	}
	var requests []ctrl.Request
	for i := range list.Items {
		if optedIn(&list.Items[i]) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}

// Reconcile compares what the workload's pods were last rolled for with the Connections as they are, and rolls them
// once if one of those has changed.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	metadata := r.metadata()
	if err := r.client.Get(ctx, request.NamespacedName, metadata); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !optedIn(metadata) {
		return ctrl.Result{}, nil
	}
	workload := r.kind.new()
	if err := r.live.Get(ctx, request.NamespacedName, workload); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	template := r.kind.template(workload)
	if !optedIn(workload) || !workload.GetDeletionTimestamp().IsZero() || template == nil {
		return ctrl.Result{}, nil
	}
	before := parseSeen(workload.GetAnnotations()[v1alpha1.AnnotationSeen])
	now, err := r.look(ctx, workload.GetNamespace(), mounted(template), before)
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, client.IgnoreNotFound(r.apply(ctx, workload, template, before, now))
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

// apply notes what was seen, and rolls the pods in the same write if that differs from what they were rolled for. A
// Connection that is new to the workload rolls nothing: the edit of the template that brought it did.
func (r *Reconciler) apply(
	ctx context.Context, workload client.Object, template *corev1.PodTemplateSpec, before seen, now observation,
) error {
	text := now.seen.String()
	if text == before.String() {
		return nil
	}
	original, ok := workload.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("%T is no object", workload)
	}
	changed := now.seen.changedSince(before)
	annotate(workload, v1alpha1.AnnotationSeen, text)
	if len(changed) > 0 {
		annotate(&template.ObjectMeta, v1alpha1.AnnotationRestartedFor, text)
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
