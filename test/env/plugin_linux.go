package env

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/node"
	"sallyport.dev/sallyport/internal/resolver/client"
)

// Plugin is the node plugin of a Node with its real driver and real mounts. It asks one replica of the controller, and
// Publish does what a kubelet would. It needs the mount namespace of RunWithOwnMounts.
type Plugin struct {
	// Registry has the driver's metrics.
	Registry *prometheus.Registry

	cp         *ControlPlane
	dir        string
	calls      csi.NodeClient
	connection *grpc.ClientConn
	stop       func() error
}

// StartPlugin starts the plugin and returns when it serves. The caller stops it, after it has unpublished all volumes.
func (n *Node) StartPlugin(ctx context.Context, replica *Controller, log logr.Logger) (*Plugin, error) {
	dir, removeDir, err := KubeletDir()
	if err != nil {
		return nil, err
	}
	token, err := n.Token(ctx)
	if err != nil {
		return nil, err
	}
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		return nil, err
	}
	resolver := client.New(client.Config{
		Kubernetes: n.cp.Clients, Namespace: Namespace, NodeName: n.Name, Port: replica.ResolverPort, TokenFile: tokenFile,
	})
	p := &Plugin{Registry: prometheus.NewRegistry(), cp: n.cp, dir: dir}
	driver, err := node.New(node.Config{
		NodeName: n.Name, Version: "test", Resolver: resolver, Changes: resolver, Registry: p.Registry, KubeletDir: dir,
	})
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(logr.NewContext(context.WithoutCancel(ctx), log))
	asked, served := make(chan error, 1), make(chan error, 1)
	go func() { asked <- resolver.Run(running) }()
	go func() { served <- driver.Run(running) }()
	p.connection, err = grpc.NewClient("unix://"+filepath.Join(dir, "plugins", v1alpha1.DriverName, "csi.sock"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		cancel()
		return nil, err
	}
	p.calls = csi.NewNodeClient(p.connection)
	p.stop = func() error {
		cancel()
		return errors.Join(<-served, <-asked, p.connection.Close(), removeDir())
	}
	ready, cancelReady := context.WithTimeout(ctx, 30*time.Second)
	defer cancelReady()
	if _, err = p.calls.NodeGetInfo(ready, &csi.NodeGetInfoRequest{}, grpc.WaitForReady(true)); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// Stop ends the plugin as a signal would. It fails if a volume is still mounted.
func (p *Plugin) Stop() error { return p.stop() }

// Publish mounts the first volume of a pod, or for one that is mounted brings a new token, and returns where the pod
// would see it.
func (p *Plugin) Publish(ctx context.Context, pod *corev1.Pod) (string, error) {
	target := p.target(pod)
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return "", err
	}
	token, err := p.cp.PodToken(ctx, pod, v1alpha1.AudiencePod)
	if err != nil {
		return "", err
	}
	tokens, err := json.Marshal(map[string]any{
		v1alpha1.AudiencePod: map[string]any{"token": token, "expirationTimestamp": time.Now().Add(time.Hour).UTC()},
	})
	if err != nil {
		return "", err
	}
	known := map[string]string{
		"csi.storage.k8s.io/ephemeral":           "true",
		"csi.storage.k8s.io/pod.name":            pod.Name,
		"csi.storage.k8s.io/pod.namespace":       pod.Namespace,
		"csi.storage.k8s.io/pod.uid":             string(pod.UID),
		"csi.storage.k8s.io/serviceAccount.name": pod.Spec.ServiceAccountName,
	}
	maps.Copy(known, pod.Spec.Volumes[0].CSI.VolumeAttributes)
	_, err = p.calls.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
		VolumeId: volumeID(pod), TargetPath: target, Readonly: true, VolumeContext: known,
		Secrets: map[string]string{"csi.storage.k8s.io/serviceAccount.tokens": string(tokens)},
		VolumeCapability: &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		},
	})
	return target, err
}

// Unpublish takes the pod's first volume away.
func (p *Plugin) Unpublish(ctx context.Context, pod *corev1.Pod) error {
	_, err := p.calls.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: volumeID(pod), TargetPath: p.target(pod)})
	return err
}

// target is the path that a kubelet would choose.
func (p *Plugin) target(pod *corev1.Pod) string {
	return filepath.Join(p.dir, "pods", string(pod.UID), "volumes", "kubernetes.io~csi", pod.Spec.Volumes[0].Name, "mount")
}

func volumeID(pod *corev1.Pod) string { return "csi-" + string(pod.UID) }
