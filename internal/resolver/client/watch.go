package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// Run watches the ConfigMap in which the resolvers publish themselves, until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	configMaps := c.config.Kubernetes.CoreV1().ConfigMaps(c.config.Namespace)
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
	set := func(object any) {
		if configMap, ok := object.(*corev1.ConfigMap); ok && configMap.Name == resolverv1.ConfigMapName {
			c.update(ctx, configMap.Data)
		}
	}
	_, watcher := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.ToListWatcherWithWatchListSemantics(source, c.config.Kubernetes),
		ObjectType:    &corev1.ConfigMap{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    set,
			UpdateFunc: func(_, object any) { set(object) },
			DeleteFunc: func(any) { c.update(ctx, nil) },
		},
	})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		watcher.RunWithContext(ctx)
	}()
	if cache.WaitForCacheSync(ctx.Done(), watcher.HasSynced) {
		close(c.synced)
	}
	<-stopped
	c.update(ctx, nil)
	return nil
}

// update makes the endpoints those that are published now. An endpoint whose certificates are the same keeps its
// connection; the others lose theirs when the last question under way is answered.
func (c *Client) update(ctx context.Context, bundles map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var broken []error
	for name, bundle := range bundles {
		if known := c.endpoints[name]; known != nil && known.bundle == bundle {
			continue
		}
		fresh, err := c.newEndpoint(name, bundle)
		if err != nil {
			broken = append(broken, err)
			continue
		}
		if known := c.endpoints[name]; known != nil {
			known.retire()
		}
		c.endpoints[name] = fresh
	}
	for name, known := range c.endpoints {
		if _, still := bundles[name]; !still {
			known.retire()
			delete(c.endpoints, name)
		}
	}
	if err := errors.Join(broken...); err != nil {
		logr.FromContextOrDiscard(ctx).Error(err, "Published resolver not usable")
	}
}

// preferred returns the endpoints in the order in which this node asks them: its own stable order, but those that failed a
// short while ago last. The order differs from node to node, which spreads the load; it stays the same for one node, so that
// the questions of its pods meet in one replica and share what that has read.
func (c *Client) preferred() ([]*endpoint, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.config.Clock.Now()
	type candidate struct {
		*endpoint
		broken bool
		weight uint64
	}
	candidates := make([]candidate, 0, len(c.endpoints))
	for name, e := range c.endpoints {
		e.acquire()
		candidates = append(candidates, candidate{endpoint: e, broken: e.isBroken(now), weight: weight(c.config.NodeName, name)})
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
