package isolation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/test/env"
)

// issuing answers like an engine that makes a credential with a lease for whoever asks.
func issuing(w http.ResponseWriter, _ *http.Request, path string) bool {
	switch {
	case strings.HasPrefix(path, "sys/internal/ui/mounts"):
		respond(w, answered(object{"path": "database/", "type": "database"}))
	case strings.HasPrefix(path, "database/creds/"):
		respond(w, object{
			"request_id": requestID, "lease_id": path + "/1", "lease_duration": 3600, "renewable": true, "data": object{"value": "x"},
		})
	default:
		return false
	}
	return true
}

// leased is a Connection with such a credential.
func (t *Tenant) leased(name string) *v1alpha1.Connection {
	return t.connection(name, "creds/x", func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].EnginePath = "database" })
}

// stolen is what somebody with root on a node has: its plugin's token, and those of the pods on it.
type stolen struct {
	t        *Tenant
	token    string
	replicas []resolverv1.ResolverClient

	mu sync.Mutex
	// refused are the requests that were, by what is wrong with them; served are those that were not.
	refused map[string]int
	served  []string
}

// steal makes a node of the hostile tenant's.
func (t *Tenant) steal() (*stolen, *env.Node, error) {
	node, err := t.s.CreateNode(t.ctx, "stolen-"+t.Namespace)
	if err != nil {
		return nil, nil, err
	}
	t.onStop(func() {
		plugin := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: env.Namespace, Name: "sallyport-node-" + node.Name}}
		for _, object := range []client.Object{&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}, plugin} {
			_ = t.s.Client.Delete(context.WithoutCancel(t.ctx), object)
		}
	})
	st := &stolen{t: t, refused: map[string]int{}}
	if st.token, err = node.Token(t.ctx); err != nil {
		return nil, nil, err
	}
	for i := range replicas {
		resolver, err := t.resolver(i, podAddress(2*slowPods))
		if err != nil {
			return nil, nil, err
		}
		st.replicas = append(st.replicas, resolver)
	}
	return st, node, nil
}

// podOn makes a pod that mounts a Connection, and returns what its node asks for it.
func (t *Tenant) podOn(node *env.Node, name, connection string) (*resolverv1.ResolveRequest, error) {
	attributes := map[string]string{v1alpha1.AttributeConnection: connection}
	pod, err := node.CreatePod(t.ctx, t.Namespace, name, attributes)
	if err != nil {
		return nil, err
	}
	token, err := t.s.PodToken(t.ctx, pod, v1alpha1.AudiencePod)
	return &resolverv1.ResolveRequest{
		PodToken: token, VolumeAttributes: attributes, VolumeId: env.VolumeID(pod, pod.Spec.Volumes[0].Name),
	}, err
}

// keep does something with the node's token again and again, some at a time at each replica.
func (st *stolen) keep(what string, do func(context.Context, resolverv1.ResolverClient, int64) error) {
	const callers = 20
	for _, resolver := range st.replicas {
		for caller := range callers {
			st.t.loop(func(ctx context.Context, turn int) {
				call, cancel := withBearer(ctx, st.token)
				defer cancel()
				st.note(what, do(call, resolver, int64(turn*callers+caller)))
				sleep(ctx, 2*time.Millisecond)
			})
		}
	}
}

// note counts refusals. That the node has more under way than its share is none.
func (st *stolen) note(what string, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err == nil {
		st.served = append(st.served, what)
		return
	}
	f := resolverv1.DecodeFault(err)
	// Leases that no key opens are looked at once a second with keys that are read anew, and else to be tried again.
	if f != nil && (f.Reason == v1alpha1.ReasonNotAllowed || what == inventedLeases) {
		st.refused[what]++
	}
}

// proof is that each kind of request was made often, and that none was served.
func (st *stolen) proof() (string, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	var texts []string
	var failures []error
	for _, what := range []string{inventedID, otherAttributes, otherNode, inventedPod, inventedLeases} {
		texts = append(texts, fmt.Sprintf("%s: %d times refused", what, st.refused[what]))
		if st.refused[what] < 100 {
			failures = append(failures, fmt.Errorf("the attack did not happen: %s: %d times refused", what, st.refused[what]))
		}
	}
	if len(st.served) > 0 {
		failures = append(failures, fmt.Errorf("%d requests were served, first: %s", len(st.served), st.served[0]))
	}
	return strings.Join(texts, ", "), errors.Join(failures...)
}

// What a stolen node asks for.
const (
	inventedID      = "a volume that its pod does not have"
	otherAttributes = "a Connection that its pod does not mount"
	otherNode       = "a pod of another node"
	inventedPod     = "a pod that nobody made"
	inventedLeases  = "leases that nobody had"
)

// stolenNode asks with the identity of a node for volumes that are invented and for pods that are not on it. What is
// right of its requests is shown first: for the pod that it has a credential is made, and no other ever is.
func stolenNode(t *Tenant) (Proof, error) {
	s, err := t.serveAs(issuing)
	if err != nil {
		return nil, err
	}
	st, node, err := t.steal()
	if err != nil {
		return nil, err
	}
	if err := t.create(t.leased("leased"), t.leased("other")); err != nil {
		return nil, err
	}
	own, err := t.podOn(node, "own", "leased")
	if err != nil {
		return nil, err
	}
	elsewhere, err := t.podOn(t.s.Node, "elsewhere", "leased")
	if err != nil {
		return nil, err
	}
	err = eventually(t.ctx, 20*time.Second, func(ctx context.Context) error {
		call, cancel := withBearer(ctx, st.token)
		defer cancel()
		_, failure := st.replicas[0].Resolve(call, own)
		return failure
	})
	if err != nil {
		return nil, fmt.Errorf("what the node may ask for: %w", err)
	}
	issued := s.count("database/creds/")
	resolve := func(request *resolverv1.ResolveRequest) func(context.Context, resolverv1.ResolverClient, int64) error {
		return func(ctx context.Context, resolver resolverv1.ResolverClient, number int64) error {
			asked := &resolverv1.ResolveRequest{
				PodToken: request.GetPodToken(), VolumeId: request.GetVolumeId(), VolumeAttributes: request.GetVolumeAttributes(),
			}
			if asked.PodToken == "" {
				asked.PodToken = inventedToken(v1alpha1.AudiencePod, t.Namespace+":default", number)
			}
			if asked.VolumeId == "" {
				asked.VolumeId = fmt.Sprintf("csi-%064x", number)
			}
			_, err := resolver.Resolve(ctx, asked)
			return err
		}
	}
	other := map[string]string{v1alpha1.AttributeConnection: "other"}
	st.keep(inventedID, resolve(&resolverv1.ResolveRequest{PodToken: own.PodToken, VolumeAttributes: own.VolumeAttributes}))
	st.keep(otherAttributes, resolve(&resolverv1.ResolveRequest{PodToken: own.PodToken, VolumeId: own.VolumeId, VolumeAttributes: other}))
	st.keep(otherNode, resolve(elsewhere))
	st.keep(inventedPod, resolve(&resolverv1.ResolveRequest{VolumeId: own.VolumeId, VolumeAttributes: own.VolumeAttributes}))
	st.keep(inventedLeases, func(ctx context.Context, resolver resolverv1.ResolverClient, number int64) error {
		_, err := resolver.Release(ctx, &resolverv1.ReleaseRequest{Leases: fmt.Appendf(nil, "%0200d", number)})
		return err
	})
	return both(st.proof, func() (string, error) {
		made := s.count("database/creds/")
		text := fmt.Sprintf("%d credentials for its own pod", issued)
		if issued == 0 || made != issued {
			return text, fmt.Errorf("%s, and %d more for what is invented", text, made-issued)
		}
		return text, nil
	}), nil
}
