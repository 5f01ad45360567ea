package resolver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// podRead is a Pod that is being read from the API server.
type podRead struct {
	key  types.NamespacedName
	done chan struct{}
	pod  corev1.Pod
	err  error
}

// readAhead begins to read the Pod that a token says it belongs to, so that this takes no time beside the token's review. Nobody has checked yet what
// the token says: the Pod must not be used unless the review says the same. It returns nil for a token that says nothing of a pod, and for one
// that will not be reviewed because it was a moment ago.
//
// The API server answers from what it watches, without asking its storage. It looks there for the token's pod, too, when it reviews the token, so
// that a deleted Pod is not taken for an existing one any longer than by the review; and nothing that is used of a Pod changes once it has a node.
func (a *Authorizer) readAhead(ctx context.Context, token string) *podRead {
	key, ok := podIn(token)
	if !ok || a.remembered(token, v1alpha1.AudiencePod) != nil {
		return nil
	}
	read := &podRead{key: key, done: make(chan struct{})}
	go func() {
		defer close(read.done)
		read.err = a.pods.Get(ctx, key, &read.pod, &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}})
	}()
	return read
}

// readPod returns the Pod of a reviewed token: what was read ahead if that is the one, and else the Pod as it is in the API server's storage.
func (a *Authorizer) readPod(ctx context.Context, id *identity, ahead *podRead) (*corev1.Pod, error) {
	key := types.NamespacedName{Namespace: id.namespace, Name: id.podName}
	if ahead != nil && ahead.key == key {
		<-ahead.done // it ends with ctx
		if ahead.err == nil && string(ahead.pod.UID) == id.podUID && ahead.pod.Spec.NodeName == id.nodeName {
			return &ahead.pod, nil
		}
	}
	pod := &corev1.Pod{}
	return pod, a.pods.Get(ctx, key, pod)
}

// podIn returns the pod that a service account token names in its claims, which nobody has checked.
func podIn(token string) (types.NamespacedName, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return types.NamespacedName{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return types.NamespacedName{}, false
	}
	var claims struct {
		Kubernetes struct {
			Namespace string `json:"namespace"`
			Pod       struct {
				Name string `json:"name"`
			} `json:"pod"`
		} `json:"kubernetes.io"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return types.NamespacedName{}, false
	}
	key := types.NamespacedName{Namespace: claims.Kubernetes.Namespace, Name: claims.Kubernetes.Pod.Name}
	return key, key.Namespace != "" && key.Name != ""
}
