package restart

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// discoveryInterval is how long it may take until an optional kind is noticed that was installed later: one request for
// what nobody waits for.
const discoveryInterval = 10 * time.Second

// optionalWatch has a controller watch its kind while the API server has it. A watch of what is not there would fill
// the log, and one that the controller waits for would end the process.
type optionalWatch struct {
	reconciler *Reconciler
	controller controller.Controller
	cache      cache.Cache
	server     rest.Interface

	watching bool
}

// watchOptional adds an optionalWatch to the manager; it works in the leader, as controllers do.
func watchOptional(mgr ctrl.Manager, r *Reconciler, c controller.Controller) error {
	server, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("making a client for discovery: %w", err)
	}
	watch := &optionalWatch{reconciler: r, controller: c, cache: mgr.GetCache(), server: server.RESTClient()}
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		wait.UntilWithContext(ctx, watch.look, discoveryInterval)
		return nil
	}))
}

// look begins to watch the kind if it is there now, and ends if it is not any more.
func (w *optionalWatch) look(ctx context.Context) {
	logger := log.FromContext(ctx).WithValues("kind", w.reconciler.kind.Kind)
	served, err := w.served(ctx)
	switch metadata := w.reconciler.metadata(); {
	case err != nil:
	case served && !w.watching:
		err = w.controller.Watch(source.Kind(
			w.cache, client.Object(metadata), &handler.EnqueueRequestForObject{}, workloadChanged,
		))
		if w.watching = err == nil; w.watching {
			logger.Info("began watching an optional kind")
		}
	case !served && w.watching:
		err = w.cache.RemoveInformer(ctx, metadata)
		if w.watching = err != nil; !w.watching {
			logger.Info("stopped watching an optional kind")
		}
	}
	if err != nil && ctx.Err() == nil {
		logger.Info("cannot find out whether to watch an optional kind", "cause", err.Error())
	}
}

// served tells whether the API server has the kind.
func (w *optionalWatch) served(ctx context.Context) (bool, error) {
	list, version := &metav1.APIResourceList{}, w.reconciler.kind.GroupVersion()
	err := w.server.Get().AbsPath("/apis", version.Group, version.Version).Do(ctx).Into(list)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return slices.ContainsFunc(list.APIResources, func(resource metav1.APIResource) bool {
		return resource.Kind == w.reconciler.kind.Kind
	}), err
}
