package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// replicaSet is the resolver's replicas that are published now.
type replicaSet struct {
	config Config
	// synced is closed after the first look at the ConfigMap.
	synced chan struct{}

	mu        sync.Mutex
	endpoints map[string]*endpoint
}

func newReplicaSet(config Config) *replicaSet {
	return &replicaSet{config: config, synced: make(chan struct{}), endpoints: map[string]*endpoint{}}
}

// run watches the ConfigMap in which the resolvers publish themselves, until ctx ends.
func (s *replicaSet) run(ctx context.Context) error {
	configMaps := s.config.Kubernetes.CoreV1().ConfigMaps(s.config.Namespace)
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, resolverv1.ConfigMapName).String()
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = only
			return configMaps.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			return configMaps.Watch(ctx, options)
		},
	}
	apply := func(object any) {
		if configMap, ok := object.(*corev1.ConfigMap); ok && configMap.Name == resolverv1.ConfigMapName {
			s.update(ctx, configMap.Data)
		}
	}
	_, watcher := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.ToListWatcherWithWatchListSemantics(source, s.config.Kubernetes),
		ObjectType:    &corev1.ConfigMap{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    apply,
			UpdateFunc: func(_, object any) { apply(object) },
			DeleteFunc: func(any) { s.update(ctx, nil) },
		},
	})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		watcher.RunWithContext(ctx)
	}()
	if cache.WaitForCacheSync(ctx.Done(), watcher.HasSynced) {
		close(s.synced)
	}
	<-stopped
	s.update(ctx, nil)
	return nil
}

// waitForSync gives the watch a moment: right after the start nobody has looked at the ConfigMap yet.
func (s *replicaSet) waitForSync(ctx context.Context) error {
	timer := time.NewTimer(s.config.SyncTimeout)
	defer timer.Stop()
	select {
	case <-s.synced:
		return nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return givenUp()
		}
	case <-timer.C:
	}
	return fault.Transient(v1alpha1.ReasonNoResolver,
		"the node plugin could not read ConfigMap %s/%s, where resolvers are published, from the Kubernetes API so far",
		s.config.Namespace, resolverv1.ConfigMapName)
}

// update makes the endpoints those that are published now. An endpoint whose certificates are the same keeps its
// connection; the others lose theirs when the last call under way ends.
func (s *replicaSet) update(ctx context.Context, bundles map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var broken []error
	for name, bundle := range bundles {
		if known := s.endpoints[name]; known != nil && known.bundle == bundle {
			continue
		}
		fresh, err := newEndpoint(&s.config, name, bundle)
		if err != nil {
			broken = append(broken, err)
			continue
		}
		if known := s.endpoints[name]; known != nil {
			known.closeWhenIdle()
		}
		s.endpoints[name] = fresh
	}
	for name, known := range s.endpoints {
		if _, still := bundles[name]; !still {
			known.closeWhenIdle()
			delete(s.endpoints, name)
		}
	}
	if err := errors.Join(broken...); err != nil {
		logr.FromContextOrDiscard(ctx).Error(err, "Published resolver not usable")
	}
}

// preferred returns the endpoints in the order in which this node asks them: its own stable order, but those that
// failed a short while ago last. The order differs from node to node, which spreads the load; it stays the same for one
// node, so that the calls for its pods meet in one replica and share what that has read.
func (s *replicaSet) preferred() ([]*endpoint, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.config.Clock.Now()
	type candidate struct {
		*endpoint
		broken bool
		weight uint64
	}
	candidates := make([]candidate, 0, len(s.endpoints))
	for name, e := range s.endpoints {
		e.acquire()
		candidates = append(candidates, candidate{
			endpoint: e, broken: e.isBroken(now), weight: weight(s.config.NodeName, name),
		})
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		if a.broken != b.broken {
			if a.broken {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.name, b.name))
	})
	endpoints := make([]*endpoint, len(candidates))
	for i := range candidates {
		endpoints[i] = candidates[i].endpoint
	}
	return endpoints, func() {
		for _, e := range endpoints {
			e.release()
		}
	}
}

// weight is rendezvous hashing: when a replica comes or goes, only the nodes that prefer it move.
func weight(node, endpoint string) uint64 {
	sum := sha256.Sum256([]byte(node + "\x00" + endpoint))
	return binary.BigEndian.Uint64(sum[:])
}
