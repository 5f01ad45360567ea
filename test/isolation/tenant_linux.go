package isolation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// atATime is how many calls of one kind a hostile tenant makes at a time.
const atATime = 16

// Tenant is a hostile one: with all rights in one namespace, and none elsewhere.
type Tenant struct {
	// Namespace is its own.
	Namespace string
	// Client has its rights.
	Client client.Client

	s       *System
	ctx     context.Context //nolint:containedctx // of the attack, which ends with it
	cancel  context.CancelFunc
	loops   sync.WaitGroup
	servers []*server
	stops   []func()
	others  []*Tenant

	mu      sync.Mutex
	pods    []*corev1.Pod
	volumes []*csi.NodePublishVolumeRequest
}

// newTenant makes the namespace, the tenant's rights, and the token of its VaultConfigs.
func newTenant(ctx context.Context, s *System, namespace string) (*Tenant, error) {
	user := "user-of-" + namespace
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: user},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: tenantRole},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		},
		builder.TokenSecret(namespace, builder.TokenSecretName, "hostile"),
	}
	for _, object := range objects {
		if err := s.Client.Create(ctx, object); err != nil {
			return nil, err
		}
	}
	own, err := client.New(s.As(user, ""), client.Options{Scheme: s.Scheme})
	if err != nil {
		return nil, err
	}
	t := &Tenant{Namespace: namespace, Client: own, s: s}
	t.ctx, t.cancel = context.WithCancel(ctx)
	// The API server learns of new rights by a watch.
	return t, eventually(ctx, 10*time.Second, func(ctx context.Context) error {
		return own.List(ctx, &v1alpha1.VaultConfigList{}, client.InNamespace(namespace))
	})
}

// another is one more hostile tenant, who ends with this one.
func (t *Tenant) another(number int) (*Tenant, error) {
	other, err := newTenant(t.ctx, t.s, fmt.Sprintf("%s-%d", t.Namespace, number))
	if other != nil {
		t.others = append(t.others, other)
	}
	return other, err
}

// tenantRole is that of whoever administrates a namespace. A control plane without a controller manager has the role
// "admin", but nobody who puts together what is in it.
const tenantRole = "tenant"

// allowTenants makes that role.
func allowTenants(ctx context.Context, s *System) error {
	all := []string{"*"}
	return s.Client.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: tenantRole}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: all, Verbs: all},
		{APIGroups: []string{""}, Resources: []string{"pods", "secrets", "configmaps", "serviceaccounts", "serviceaccounts/token"}, Verbs: all},
	}})
}

// loop does something again and again until the attack is over.
func (t *Tenant) loop(do func(ctx context.Context, turn int)) {
	t.loops.Go(func() {
		for turn := 0; t.ctx.Err() == nil; turn++ {
			do(t.ctx, turn)
		}
	})
}

// each does something for every number, some at a time. The first failure ends it.
func (t *Tenant) each(number int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(t.ctx)
	group.SetLimit(atATime)
	for i := range number {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// create makes an object with the tenant's rights.
func (t *Tenant) create(objects ...client.Object) error {
	for _, object := range objects {
		if err := t.Client.Create(t.ctx, object); err != nil {
			return fmt.Errorf("%T %s: %w", object, object.GetName(), err)
		}
	}
	return nil
}

// config makes the VaultConfig "main" for a server of the tenant's.
func (t *Tenant) config(at *server, options ...func(*v1alpha1.VaultConfig)) error {
	return t.create(t.newConfig(builder.ConfigName, at.url, options...))
}

func (t *Tenant) newConfig(name, url string, options ...func(*v1alpha1.VaultConfig)) *v1alpha1.VaultConfig {
	return t.s.Vault.Config(t.Namespace, name, builder.WithURL(url), builder.All(options...))
}

// connection has the file "value" with the value of the same name in a secret.
func (t *Tenant) connection(name, path string, options ...func(*v1alpha1.Connection)) *v1alpha1.Connection {
	return builder.Connection(t.Namespace, name, map[string]any{"value": "vault.secret(value)"},
		builder.WithSecret(path), builder.WithShortestRefresh, builder.All(options...))
}

// newPod makes a pod with a volume for each of these Connections, and all that a kubelet prepares for it.
func (t *Tenant) newPod(name string, connections ...string) ([]*csi.NodePublishVolumeRequest, error) {
	pod := builder.Pod(t.Namespace, name, builder.WithNode(t.s.Node.Name), func(p *corev1.Pod) {
		for i, connection := range connections {
			builder.WithConnection(map[string]string{v1alpha1.AttributeConnection: connection})(p)
			p.Spec.Volumes[i].Name = fmt.Sprintf("volume-%d", i)
		}
	})
	if err := t.create(pod); err != nil {
		return nil, err
	}
	requests, err := t.s.Kubelet.Requests(t.ctx, pod)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pods, t.volumes = append(t.pods, pod), append(t.volumes, requests...)
	return requests, err
}

// mounts are what a kubelet asked the driver for, for pods of the tenant's.
type mounts struct{ askedFor, done atomic.Int64 }

func (m *mounts) asked() int   { return int(m.askedFor.Load()) }
func (m *mounts) mounted() int { return int(m.done.Load()) }

// keepMounting has the kubelet mount volumes, and try again as long as that fails.
func (t *Tenant) keepMounting(requests []*csi.NodePublishVolumeRequest) *mounts {
	m := &mounts{}
	for _, request := range requests {
		t.loops.Go(func() {
			for t.ctx.Err() == nil {
				m.askedFor.Add(1)
				if t.s.Kubelet.Mount(t.ctx, request) == nil {
					m.done.Add(1)
					return
				}
				sleep(t.ctx, retryMount)
			}
		})
	}
	return m
}

// retryMount is what a kubelet waits between its second and its third try.
const retryMount = time.Second

// onStop does something when the attack is over.
func (t *Tenant) onStop(do func()) { t.stops = append(t.stops, do) }

// reasons are what the tenant's objects say in their conditions of why something is as it is, how often, and with what
// sentence for example.
func (t *Tenant) reasons(ctx context.Context) string {
	counts, examples := map[string]int{}, map[string]string{}
	for _, list := range []client.ObjectList{&v1alpha1.VaultConfigList{}, &v1alpha1.ConnectionList{}, &v1alpha1.VaultTaskList{}} {
		if err := t.s.Client.List(ctx, list, client.InNamespace(t.Namespace)); err != nil {
			return err.Error()
		}
		_ = meta.EachListItem(list, func(item runtime.Object) error {
			object, _ := item.(client.Object)
			reason, message := "without conditions", ""
			if conditions := env.Conditions(object); len(conditions) > 0 {
				reason, message = conditions[0].Reason, conditions[0].Message
			}
			reason = strings.TrimPrefix(fmt.Sprintf("%T", object), "*v1alpha1.") + " " + reason
			counts[reason]++
			examples[reason] = message
			return nil
		})
	}
	var texts []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		texts = append(texts, fmt.Sprintf("%d %s (%s)", counts[reason], reason, examples[reason]))
	}
	return strings.Join(texts, "\n")
}

// stop ends the attack and takes away what it made.
func (t *Tenant) stop(ctx context.Context) error {
	t.cancel()
	for _, server := range t.servers {
		server.close()
	}
	for _, stop := range t.stops {
		stop()
	}
	t.loops.Wait()
	group := errgroup.Group{}
	group.SetLimit(atATime)
	for _, request := range t.volumes {
		group.Go(func() error {
			return eventually(ctx, time.Minute, func(ctx context.Context) error { return t.s.Kubelet.Unmount(ctx, request) })
		})
	}
	failures := []error{group.Wait()}
	for _, other := range t.others {
		failures = append(failures, other.stop(ctx))
	}
	for _, kind := range []client.Object{
		&corev1.Pod{}, &v1alpha1.VaultTask{}, &v1alpha1.Connection{}, &v1alpha1.VaultConfig{}, &corev1.Secret{},
	} {
		options := []client.DeleteAllOfOption{client.InNamespace(t.Namespace), client.GracePeriodSeconds(0)}
		failures = append(failures, t.s.Client.DeleteAllOf(ctx, kind, options...))
	}
	return errors.Join(failures...)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
