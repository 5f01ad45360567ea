package env

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// PublishRequests prepares the volumes of a pod that are the driver's, below a kubelet's directory, and returns for each
// what the kubelet asks the driver to mount, with the pod's token for the resolver.
func PublishRequests(pod *corev1.Pod, dir, token string, expires time.Time) ([]*csi.NodePublishVolumeRequest, error) {
	tokens, err := json.Marshal(map[string]any{
		v1alpha1.AudiencePod: map[string]any{"token": token, "expirationTimestamp": expires.UTC()},
	})
	if err != nil {
		return nil, err
	}
	var requests []*csi.NodePublishVolumeRequest
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if volume.CSI == nil || volume.CSI.Driver != v1alpha1.DriverName {
			continue
		}
		target := filepath.Join(dir, "pods", string(pod.UID), "volumes", "kubernetes.io~csi", volume.Name, "mount")
		if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
			return nil, err
		}
		known := map[string]string{
			"csi.storage.k8s.io/ephemeral":           "true",
			"csi.storage.k8s.io/pod.name":            pod.Name,
			"csi.storage.k8s.io/pod.namespace":       pod.Namespace,
			"csi.storage.k8s.io/pod.uid":             string(pod.UID),
			"csi.storage.k8s.io/serviceAccount.name": pod.Spec.ServiceAccountName,
		}
		maps.Copy(known, volume.CSI.VolumeAttributes)
		requests = append(requests, &csi.NodePublishVolumeRequest{
			VolumeId: VolumeID(pod, volume.Name), TargetPath: target, Readonly: true, VolumeContext: known,
			Secrets: map[string]string{"csi.storage.k8s.io/serviceAccount.tokens": string(tokens)},
			VolumeCapability: &csi.VolumeCapability{
				AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
				AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
			},
		})
	}
	return requests, nil
}
