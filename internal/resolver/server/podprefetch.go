package server

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// podPrefetch is a Pod that is being read from the API server while the token that names it is reviewed.
type podPrefetch struct {
	key  types.NamespacedName
	done chan struct{}
	pod  corev1.Pod
	err  error
}

// prefetchPod begins to read the Pod that a token says it belongs to, so that this takes no time beside the token's
// review. Nobody has checked yet what the token says: the Pod must not be used unless the review says the same. It
// returns nil for a token that says nothing of a pod.
//
// The API server answers from what it watches, without asking its storage. It looks there for the token's pod, too,
// when it reviews the token, so that a deleted Pod is not taken for an existing one any longer than by the review; and
// nothing that is used of a Pod changes once it has a node.
func prefetchPod(ctx context.Context, pods client.Reader, token string) *podPrefetch {
	key, ok := podNamedIn(token)
	if !ok || refuseUnreviewed(token, v1alpha1.AudiencePod, "", time.Now()) != nil {
		return nil
	}
	prefetch := &podPrefetch{key: key, done: make(chan struct{})}
	go func() {
		defer close(prefetch.done)
		fromWatch := &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}}
		prefetch.err = fault.Guard(ctx, func() error { return pods.Get(ctx, key, &prefetch.pod, fromWatch) })
	}()
	return prefetch
}

// readPod returns the Pod of a reviewed token: the prefetched one if it matches, and else the Pod as it is in the API
// server's storage.
func readPod(ctx context.Context, pods client.Reader, claims *tokenClaims, prefetch *podPrefetch) (*corev1.Pod, error) {
	key := types.NamespacedName{Namespace: claims.namespace, Name: claims.podName}
	if prefetch != nil && prefetch.key == key {
		<-prefetch.done // it ends with ctx
		found := &prefetch.pod
		if prefetch.err == nil && string(found.UID) == claims.podUID && found.Spec.NodeName == claims.nodeName {
			return found, nil
		}
	}
	pod := &corev1.Pod{}
	return pod, pods.Get(ctx, key, pod)
}

// podNamedIn returns the pod that a service account token names in its claims, which nobody has checked.
func podNamedIn(token string) (types.NamespacedName, bool) {
	claims, ok := parseUnreviewed(token)
	if !ok {
		return types.NamespacedName{}, false
	}
	return claims.pod()
}
