package env

import (
	"context"
	"crypto/sha256"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// Node is a Node object with the pod of a node plugin on it. There is no kubelet: what one would do, the tests do.
type Node struct {
	// Name of the Node object.
	Name string

	cp     *ControlPlane
	plugin *corev1.Pod
}

// CreateNode creates a node and its plugin's pod.
func (cp *ControlPlane) CreateNode(ctx context.Context, name string) (*Node, error) {
	if err := cp.Client.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		return nil, err
	}
	plugin := builder.Pod(Namespace, "sallyport-node-"+name, builder.WithServiceAccount("sallyport-node"), builder.WithNode(name))
	if err := cp.Client.Create(ctx, plugin); err != nil {
		return nil, err
	}
	return &Node{Name: name, cp: cp, plugin: plugin}, nil
}

// Token is what the plugin's projected volume would hold.
func (n *Node) Token(ctx context.Context) (string, error) {
	return n.cp.PodToken(ctx, n.plugin, v1alpha1.AudienceNode)
}

// CreatePod creates a pod on the node that mounts a Connection, with the namespace's service account "default" unless
// the mutation names another. Service accounts are created where they are missing, as a controller manager would.
func (n *Node) CreatePod(ctx context.Context, namespace, name string, attributes map[string]string, mutate ...func(*corev1.Pod)) (*corev1.Pod, error) {
	pod := builder.Pod(namespace, name, builder.WithNode(n.Name), builder.WithConnection(attributes), builder.All(mutate...))
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod.Spec.ServiceAccountName}}
	if err := client.IgnoreAlreadyExists(n.cp.Client.Create(ctx, account)); err != nil {
		return nil, err
	}
	return pod, n.cp.Client.Create(ctx, pod)
}

// PodToken requests a token bound to a pod, as the kubelet does (TokenRequest, authentication.k8s.io/v1).
func (cp *ControlPlane) PodToken(ctx context.Context, pod *corev1.Pod, audience string) (string, error) {
	expiration := int64(3600)
	request, err := cp.Clients.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{
			Audiences:         []string{audience},
			ExpirationSeconds: &expiration,
			BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return request.Status.Token, nil
}

// VolumeID is what the kubelet calls an inline volume. Source: makeVolumeHandle in kubernetes/pkg/volume/csi.
func VolumeID(pod *corev1.Pod, volume string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(string(pod.UID)+volume)))
}
