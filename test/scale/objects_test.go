package scale

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

const (
	// atATime is how many things are made at a time.
	atATime = 32
	// tellEvery is how often somebody who waits is told how far it is.
	tellEvery = 10 * time.Second
	// sharedNamespace has the VaultConfig of the secret that all Connections use.
	sharedNamespace = "scale-shared"
	sharedPath      = "shared/broker"
)

// tenants are the namespaces, each with a VaultConfig, a token and Connections of its own.
type tenants struct {
	cluster  *cluster
	size     size
	accounts []*corev1.ServiceAccount
}

// newTenants makes them, and returns when all Connections are ready.
func newTenants(t *testing.T, c *cluster, s size) *tenants {
	t.Helper()
	g := NewWithT(t)
	a := &tenants{cluster: c, size: s, accounts: make([]*corev1.ServiceAccount, s.Namespaces)}
	c.vault.Policy("scale", `path "secret/data/*" { capabilities = ["read"] }`)
	g.Expect(a.addNamespace(t.Context(), sharedNamespace, func(config *v1alpha1.VaultConfig) {
		config.Spec.AllowedNamespaces = []v1alpha1.NamespaceGrant{
			{Selector: &v1alpha1.NamespaceSelector{}, PathPrefixes: []v1alpha1.PathPrefix{"secret/shared"}},
		}
	})).To(Succeed())
	g.Expect(a.share(t.Context(), "0")).To(Succeed())
	each(t, "namespaces", s.Namespaces, func(ctx context.Context, i int) error {
		if err := a.addNamespace(ctx, namespaceOf(i), func(*v1alpha1.VaultConfig) {}); err != nil {
			return err
		}
		a.accounts[i] = &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespaceOf(i), Name: "default"}}
		return c.Client.Create(ctx, a.accounts[i])
	})
	each(t, "secrets", s.Secrets, func(ctx context.Context, i int) error {
		return c.write(ctx, pathOf(i), map[string]any{"user": "scott", "password": fmt.Sprintf("tiger-%d", i)})
	})
	each(t, "Connections", s.Secrets, func(ctx context.Context, i int) error {
		return c.Client.Create(ctx, builder.Connection(a.namespace(i), connectionOf(i),
			map[string]any{"user": "vault.secret(own.user)", "password": "vault.secret(own.password)"},
			builder.WithType("scale"), builder.WithSecrets(builder.VaultSecret("own", pathOf(i))), builder.WithRefreshInterval(s.interval())))
	})
	a.awaitConnections(t)
	return a
}

func namespaceOf(number int) string { return fmt.Sprintf("scale-%d", number) }

func connectionOf(number int) string { return fmt.Sprintf("connection-%d", number) }

func pathOf(number int) string { return fmt.Sprintf("scale/%d", number) }

// namespace is that of a Connection.
func (a *tenants) namespace(connection int) string {
	return namespaceOf(connection % a.size.Namespaces)
}

func (a *tenants) addNamespace(ctx context.Context, name string, option func(*v1alpha1.VaultConfig)) error {
	c := a.cluster
	token := c.vault.Token(env.TokenOptions{Policies: []string{"scale"}, TTL: tokenLife, Period: tokenLife})
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}},
		builder.TokenSecret(name, builder.TokenSecretName, token),
		c.vault.Config(name, builder.ConfigName, option),
	} {
		if err := c.Client.Create(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// write writes a secret.
func (c *cluster) write(ctx context.Context, path string, data map[string]any) error {
	_, err := c.vault.Client().Logical().WriteWithContext(ctx, "secret/data/"+path, map[string]any{"data": data})
	return err
}

// share writes the secret that all Connections use.
func (a *tenants) share(ctx context.Context, password string) error {
	return a.cluster.write(ctx, sharedPath, map[string]any{"password": password})
}

// useShared has every Connection use the shared secret, too, in the file "shared".
func (a *tenants) useShared(t *testing.T) {
	t.Helper()
	each(t, "Connections with a shared secret", a.size.Secrets, func(ctx context.Context, i int) error {
		connection := &v1alpha1.Connection{}
		if err := a.cluster.Client.Get(ctx, key(a.namespace(i), connectionOf(i)), connection); err != nil {
			return err
		}
		before := connection.DeepCopy()
		shared := builder.VaultSecret("shared", sharedPath)
		shared.VaultConfigRef.Namespace = sharedNamespace
		builder.WithSecrets(shared)(connection)
		connection.Spec.Value["shared"] = builder.JSON(map[string]any{"shared": "vault.secret(shared.password)"})["shared"]
		return a.cluster.Client.Patch(ctx, connection, client.MergeFrom(before))
	})
}

// awaitConnections waits until all Connections are ready.
func (a *tenants) awaitConnections(t *testing.T) {
	t.Helper()
	told := time.Now()
	NewWithT(t).Eventually(func(g Gomega) int {
		list, ready := &v1alpha1.ConnectionList{}, 0
		g.Expect(a.cluster.Client.List(t.Context(), list)).To(Succeed())
		for i := range list.Items {
			if meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
				ready++
			}
		}
		if time.Since(told) > tellEvery {
			told = time.Now()
			tell("ready Connections: %d of %d", ready, a.size.Secrets)
		}
		return ready
	}, patience, a.size.poll()).Should(Equal(a.size.Secrets))
}

// newPod makes a pod on a node, with all that the kubelet prepares before it calls the driver: the directory and the
// token. The number says which Connection it mounts.
func (a *tenants) newPod(ctx context.Context, name string, number int, on *machine) (*mounted, error) {
	connection := number % a.size.Secrets
	pod := builder.Pod(a.namespace(connection), name, builder.WithNode(on.object.Name),
		builder.WithConnection(map[string]string{v1alpha1.AttributeConnection: connectionOf(connection)}))
	if err := a.cluster.Client.Create(ctx, pod); err != nil {
		return nil, err
	}
	token, err := a.cluster.issuer.token(pod, a.accounts[connection%a.size.Namespaces], on.object, v1alpha1.AudiencePod)
	if err != nil {
		return nil, err
	}
	requests, err := env.PublishRequests(pod, on.dir, token, time.Now().Add(tokenLife))
	if err != nil {
		return nil, err
	}
	return &mounted{on: on, pod: pod, request: requests[0]}, nil
}

func key(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// each does something for every number, some at a time, and tells how far it is.
func each(t *testing.T, what string, number int, do func(ctx context.Context, i int) error) {
	t.Helper()
	var done atomic.Int64
	stop := make(chan struct{})
	go func() {
		ticker := time.NewTicker(tellEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				tell("%s: %d of %d", what, done.Load(), number)
			case <-stop:
				return
			}
		}
	}()
	defer close(stop)
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(atATime)
	for i := range number {
		group.Go(func() error {
			defer done.Add(1)
			if err := ctx.Err(); err != nil {
				return err
			}
			return do(ctx, i)
		})
	}
	NewWithT(t).Expect(group.Wait()).To(Succeed(), what)
	tell("%s: %d", what, number)
}

// tell says how far the run is.
func tell(format string, values ...any) {
	_, _ = fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, values...))
}
