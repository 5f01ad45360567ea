package env

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Kubelet does what the kubelet of a node would do with Sallyport's driver.
type Kubelet struct {
	cp         *ControlPlane
	dir        string
	calls      csi.NodeClient
	connection *grpc.ClientConn
}

// NewKubelet is for the driver that works in a directory of KubeletDir, and returns when it serves.
func (cp *ControlPlane) NewKubelet(ctx context.Context, dir string) (*Kubelet, error) {
	connection, err := grpc.NewClient("unix://"+filepath.Join(dir, "plugins", v1alpha1.DriverName, "csi.sock"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	k := &Kubelet{cp: cp, dir: dir, calls: csi.NewNodeClient(connection), connection: connection}
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err = k.calls.NodeGetInfo(ready, &csi.NodeGetInfoRequest{}, grpc.WaitForReady(true)); err != nil {
		_ = connection.Close()
		return nil, fmt.Errorf("waiting for the driver: %w", err)
	}
	return k, nil
}

// Close ends the connection to the driver.
func (k *Kubelet) Close() error { return k.connection.Close() }

// Requests prepares the volumes of a pod that are the driver's, and returns for each what the driver is asked to mount.
// They have one token, which the kubelet keeps for the pod.
func (k *Kubelet) Requests(ctx context.Context, pod *corev1.Pod) ([]*csi.NodePublishVolumeRequest, error) {
	token, err := k.cp.PodToken(ctx, pod, v1alpha1.AudiencePod)
	if err != nil {
		return nil, err
	}
	return PublishRequests(pod, k.dir, token, time.Now().Add(time.Hour))
}

// Mount has the driver mount a volume, or for one that is mounted brings it a new token.
func (k *Kubelet) Mount(ctx context.Context, request *csi.NodePublishVolumeRequest) error {
	_, err := k.calls.NodePublishVolume(ctx, request)
	return err
}

// Unmount takes a volume away.
func (k *Kubelet) Unmount(ctx context.Context, request *csi.NodePublishVolumeRequest) error {
	_, err := k.calls.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{
		VolumeId: request.GetVolumeId(), TargetPath: request.GetTargetPath(),
	})
	return err
}

// Publish mounts the first volume of a pod, or for one that is mounted brings a new token, and returns where the pod
// would see it.
func (k *Kubelet) Publish(ctx context.Context, pod *corev1.Pod) (string, error) {
	requests, err := k.Requests(ctx, pod)
	if err != nil {
		return "", err
	}
	return requests[0].GetTargetPath(), k.Mount(ctx, requests[0])
}

// Unpublish takes the pod's first volume away.
func (k *Kubelet) Unpublish(ctx context.Context, pod *corev1.Pod) error {
	volume := pod.Spec.Volumes[0].Name
	return k.Unmount(ctx, &csi.NodePublishVolumeRequest{
		VolumeId:   VolumeID(pod, volume),
		TargetPath: filepath.Join(k.dir, "pods", string(pod.UID), "volumes", "kubernetes.io~csi", volume, "mount"),
	})
}
