package bench

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

const inNamespace = "SALLYPORT_BENCH_NAMESPACE"

// ownMounts runs the measurement again, in a mount namespace of its own, so that nothing of its mounts gets out. It
// returns false in the process that only started the one that measures.
func ownMounts(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may mount")
	}
	if os.Getenv(inNamespace) != "" {
		return true
	}
	inner := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=50m")
	inner.Env = append(os.Environ(), inNamespace+"=1")
	inner.Stdout, inner.Stderr = os.Stdout, os.Stderr
	inner.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // every mount of the new one is private
	if err := inner.Run(); err != nil {
		t.Errorf("in a mount namespace of its own: %v", err)
	}
	return false
}

// kubelet does what a kubelet would do on a node, with the node plugin as a process of its own.
type kubelet struct {
	system *system
	node   *env.Node
	dir    string
	driver csi.NodeClient
	plugin *os.Process
}

// newKubelet starts the node plugin, the program of bin/sallyport, with the rights of its service account.
func newKubelet(t *testing.T, s *system) *kubelet {
	t.Helper()
	g := NewWithT(t)
	k := &kubelet{system: s, dir: t.TempDir()}
	g.Expect(unix.Mount("tmpfs", k.dir, "tmpfs", 0, "")).To(Succeed())
	g.Expect(unix.Mount("", k.dir, "", unix.MS_SHARED, "")).To(Succeed()) // the plugin refuses to work where pods would not see its mounts
	t.Cleanup(func() { _ = unix.Unmount(k.dir, unix.MNT_DETACH) })
	g.Expect(os.Mkdir(filepath.Join(k.dir, "pods"), 0o750)).To(Succeed())
	var err error
	k.node, err = s.CreateNode(t.Context(), "bench")
	g.Expect(err).NotTo(HaveOccurred())
	token, err := k.node.Token(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	tokenFile := filepath.Join(t.TempDir(), "token")
	g.Expect(os.WriteFile(tokenFile, []byte(token), 0o600)).To(Succeed())
	k.plugin = s.startProgram(t, "-node", "sallyport-node", "sallyport-node-bench", "node",
		"--node-name="+k.node.Name, "--pod-namespace="+env.Namespace, "--kubelet-dir="+k.dir, "--token-file="+tokenFile, "--metrics-bind-address="+freeAddress(t))
	connection, err := grpc.NewClient("unix://"+filepath.Join(k.dir, "plugins", v1alpha1.DriverName, "csi.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = connection.Close() })
	k.driver = csi.NewNodeClient(connection)
	g.Eventually(func() error {
		_, err := k.driver.NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
		return err
	}, time.Minute, 100*time.Millisecond).Should(Succeed())
	return k
}

// pod is a pod on the node with one volume, and the token that the kubelet requested for it.
type pod struct {
	token   string
	request *csi.NodePublishVolumeRequest
}

// makePods makes pods whose volumes mount Connections in turn, with all that a kubelet prepares before it calls the
// driver.
func (k *kubelet) makePods(t *testing.T, prefix string, number int) []pod {
	t.Helper()
	pods := make([]pod, number)
	timed(t, number, prepareAtATime, func(ctx context.Context, i int) (err error) {
		pods[i], err = k.makePod(ctx, fmt.Sprintf("%s-%d", prefix, i), fmt.Sprintf("connection-%d", i%connections))
		return err
	})
	return pods
}

func (k *kubelet) makePod(ctx context.Context, name, connection string) (pod, error) {
	created, err := k.node.CreatePod(ctx, namespace, name, map[string]string{v1alpha1.AttributeConnection: connection})
	if err != nil {
		return pod{}, err
	}
	token, err := k.system.PodToken(ctx, created, v1alpha1.AudiencePod)
	if err != nil {
		return pod{}, err
	}
	tokens, err := json.Marshal(map[string]any{
		v1alpha1.AudiencePod: map[string]string{"token": token, "expirationTimestamp": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)},
	})
	if err != nil {
		return pod{}, err
	}
	target := filepath.Join(k.dir, "pods", string(created.UID), "volumes", "kubernetes.io~csi", "connection", "mount")
	return pod{token: token, request: &csi.NodePublishVolumeRequest{
		VolumeId:   fmt.Sprintf("csi-%x", sha256.Sum256([]byte(string(created.UID)+created.Spec.Volumes[0].Name))),
		TargetPath: target,
		Readonly:   true,
		VolumeCapability: &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		},
		VolumeContext: map[string]string{
			v1alpha1.AttributeConnection:             connection,
			"csi.storage.k8s.io/ephemeral":           "true",
			"csi.storage.k8s.io/pod.name":            created.Name,
			"csi.storage.k8s.io/pod.namespace":       created.Namespace,
			"csi.storage.k8s.io/pod.uid":             string(created.UID),
			"csi.storage.k8s.io/serviceAccount.name": created.Spec.ServiceAccountName,
		},
		Secrets: map[string]string{"csi.storage.k8s.io/serviceAccount.tokens": string(tokens)},
	}}, os.MkdirAll(filepath.Dir(target), 0o750)
}

// publish mounts the volumes of the pods.
func (k *kubelet) publish(t *testing.T, pods []pod, concurrency int) timing {
	t.Helper()
	result := timed(t, len(pods), concurrency, func(ctx context.Context, i int) error {
		_, err := k.driver.NodePublishVolume(ctx, pods[i].request)
		return err
	})
	for _, p := range pods {
		content, err := os.ReadFile(filepath.Join(p.request.GetTargetPath(), "password"))
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		NewWithT(t).Expect(content).NotTo(BeEmpty())
	}
	return result
}

func (k *kubelet) unpublish(t *testing.T, pods []pod, concurrency int) timing {
	t.Helper()
	return timed(t, len(pods), concurrency, func(ctx context.Context, i int) error {
		_, err := k.driver.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{
			VolumeId: pods[i].request.GetVolumeId(), TargetPath: pods[i].request.GetTargetPath(),
		})
		return err
	})
}
