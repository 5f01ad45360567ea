package builder

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// VolumeName is the volume that WithConnection adds.
const VolumeName = "connection"

// Pod returns a pod of one container that runs as the service account "default" and mounts nothing.
func Pod(namespace, name string, options ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			ServiceAccountName: "default",
			Containers:         []corev1.Container{{Name: "app", Image: "app"}},
		},
	}
	return apply(pod, options)
}

// WithConnection adds a CSI volume of Sallyport's with these attributes; the one named "connection" says which
// Connection it holds.
func WithConnection(attributes map[string]string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{
			Name: VolumeName,
			VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
				Driver: v1alpha1.DriverName, VolumeAttributes: attributes,
			}},
		})
	}
}

// WithNode binds the pod to a node.
func WithNode(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeName = name }
}

// WithServiceAccount runs the pod as another service account of its namespace.
func WithServiceAccount(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.ServiceAccountName = name }
}
