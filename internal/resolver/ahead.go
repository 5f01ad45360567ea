package resolver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// podRead is a Pod that is being read from the API server.
type podRead struct {
	key  types.NamespacedName
	done chan struct{}
	pod  corev1.Pod
	err  error
}

// readAhead begins to read the Pod that a token says it belongs to, so that this takes no time beside the token's review. Nobody has checked yet what
// the token says: the Pod must not be used unless the review says the same. It returns nil for a token that says nothing of a pod.
func (a *Authorizer) readAhead(ctx context.Context, token string) *podRead {
	key, ok := podIn(token)
	if !ok {
		return nil
	}
	read := &podRead{key: key, done: make(chan struct{})}
	go func() {
		defer close(read.done)
		read.err = a.pods.Get(ctx, key, &read.pod)
	}()
	return read
}

// readPod returns the Pod, from what was read ahead if that is the one.
func (a *Authorizer) readPod(ctx context.Context, key types.NamespacedName, ahead *podRead) (*corev1.Pod, error) {
	if ahead == nil || ahead.key != key {
		pod := &corev1.Pod{}
		return pod, a.pods.Get(ctx, key, pod)
	}
	<-ahead.done // it ends with ctx
	return &ahead.pod, ahead.err
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
