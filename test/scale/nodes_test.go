package scale

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/node"
	"sallyport.dev/sallyport/internal/resolver/client"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// publishPause is how long the kubelet waits at first before it tries again to mount a volume.
const publishPause = 500 * time.Millisecond

// machine is a simulated node: the driver of the node plugin with the client of the resolver, from an address of its
// own.
type machine struct {
	object   *corev1.Node
	dir      string
	resolver *client.Client
	driver   *node.Driver
	registry *prometheus.Registry
}

// machines are all nodes, which share this process and its connections to the API server.
type machines struct {
	all []*machine
	dir string
}

// newMachines makes the nodes, and starts what runs on them.
func newMachines(t *testing.T, c *cluster, number int) *machines {
	t.Helper()
	g := NewWithT(t)
	dir, err := os.MkdirTemp(memoryDirectory(), "scale-")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &machines{all: make([]*machine, number), dir: dir}
	account := &corev1.ServiceAccount{}
	g.Expect(c.Client.Get(t.Context(), key(env.Namespace, "sallyport-node"), account)).To(Succeed())
	clients, err := kubernetes.NewForConfig(c.As("system:serviceaccount:"+env.Namespace+":sallyport-node", "sallyport-node-0"))
	g.Expect(err).NotTo(HaveOccurred())
	each(t, "nodes", number, func(ctx context.Context, i int) (err error) {
		m.all[i], err = c.newMachine(ctx, filepath.Join(dir, fmt.Sprint(i)), i, account, clients)
		return err
	})
	m.run(t)
	return m
}

// memoryDirectory is a tmpfs, if there is one: what nodes write is meant for one.
func memoryDirectory() string {
	const shared = "/dev/shm"
	if info, err := os.Stat(shared); err == nil && info.IsDir() {
		return shared
	}
	return os.TempDir()
}

func (c *cluster) newMachine(
	ctx context.Context, dir string, number int, account *corev1.ServiceAccount, clients kubernetes.Interface,
) (*machine, error) {
	n := &machine{
		object: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("scale-%d", number)}},
		dir:    dir, registry: prometheus.NewRegistry(),
	}
	if err := c.Client.Create(ctx, n.object); err != nil {
		return nil, err
	}
	plugin := builder.Pod(env.Namespace, "sallyport-node-"+n.object.Name, builder.WithServiceAccount(account.Name), builder.WithNode(n.object.Name))
	if err := c.Client.Create(ctx, plugin); err != nil {
		return nil, err
	}
	token, err := c.issuer.token(plugin, account, n.object, v1alpha1.AudienceNode)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "pods"), 0o750); err != nil {
		return nil, err
	}
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		return nil, err
	}
	n.resolver = client.New(client.Config{
		Kubernetes: clients, Namespace: env.Namespace, NodeName: n.object.Name, TokenFile: tokenFile,
		// The resolver gives each address its share.
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 251, byte(number/250), byte(1+number%250))},
	})
	n.driver, err = node.New(node.Config{
		NodeName: n.object.Name, Version: "scale", Resolver: n.resolver, Changes: n.resolver, Registry: n.registry,
		RefreshOffset: rand.N(time.Second), // as internal/app has it
		// The shortest paths, for those of sockets.
		KubeletDir: dir, PluginDir: filepath.Join(dir, "p"), RegistrationDir: filepath.Join(dir, "r"), Mounter: newLinks(),
	})
	return n, err
}

// run runs what runs on the nodes until the end.
func (m *machines) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(logr.NewContext(t.Context(), logr.Discard()))
	var running sync.WaitGroup
	for _, n := range m.all {
		for name, run := range map[string]func(context.Context) error{"driver": n.driver.Run, "resolver's client": n.resolver.Run} {
			running.Go(func() {
				if err := run(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("%s: the %s: %v", n.object.Name, name, err)
				}
			})
		}
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// gathered adds up, or with most takes the largest of, what the nodes say of a metric, for values of its label reason
// that are wanted.
func (m *machines) gathered(t *testing.T, name string, most bool, wanted func(reason string) bool) float64 {
	t.Helper()
	var total float64
	for _, n := range m.all {
		families, err := n.registry.Gather()
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		for _, family := range families {
			if family.GetName() != name {
				continue
			}
			for _, metric := range family.GetMetric() {
				value := metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
				if labels := metric.GetLabel(); len(labels) > 0 && !wanted(labels[0].GetValue()) {
					continue
				}
				if most {
					total = max(total, value)
				} else {
					total += value
				}
			}
		}
	}
	return total
}

func every(string) bool { return true }

func failed(reason string) bool { return reason != v1alpha1.ReasonSucceeded }

// freshSince tells whether every volume was refreshed, with success, since a moment.
func (m *machines) freshSince(t *testing.T, moment time.Time) bool {
	t.Helper()
	return m.gathered(t, "sallyport_node_stale_volumes", false, every) == 0 &&
		m.gathered(t, "sallyport_node_oldest_refresh_age_seconds", true, every) < time.Since(moment).Seconds()
}

// mounted is the volume of a pod on a node.
type mounted struct {
	on      *machine
	pod     *corev1.Pod
	request *csi.NodePublishVolumeRequest
}

// publish does what the kubelet does until the volume is mounted, and returns how often it had to try again.
func (v *mounted) publish(ctx context.Context) (failures int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pause := publishPause; ; pause = min(2*pause, time.Minute) {
		if _, err = v.on.driver.NodePublishVolume(ctx, v.request); err == nil {
			return failures, nil
		}
		failures++
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return failures, err
		}
	}
}

func (v *mounted) unpublish(ctx context.Context) error {
	_, err := v.on.driver.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{
		VolumeId: v.request.GetVolumeId(), TargetPath: v.request.GetTargetPath(),
	})
	return err
}

// holds tells whether the pod sees this content of a file.
func (v *mounted) holds(file, content string) bool {
	found, err := os.ReadFile(filepath.Join(v.request.GetTargetPath(), file))
	return err == nil && string(found) == content
}
