package auth

import (
	"cmp"
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Workload is who uses a VaultConfig with workload: true, which logs in as its service account: the pod that mounts a
// Connection, or a VaultTask.
type Workload struct {
	// Namespace and ServiceAccount: of the pod, as the API server confirmed them; of the task, its own namespace and
	// what it names, which admission lets only those write who may create that one's tokens.
	Namespace, ServiceAccount string
	// Task is the UID of the VaultTask; empty for a pod. Its token is made (TokenRequest) when a login is due, and its
	// session is nobody else's.
	Task types.UID
	// Token returns the pod's own token for an audience, after the API server confirmed it. It is asked for only when a
	// login is due. Its errors are faults. It is nil if the pod is gone: then only a session that is logged in already
	// can be used; and for a VaultTask.
	Token func(ctx context.Context, audience string) (string, error)
}

// WorkloadIdentity is the service account behind a workload's session, which all its pods share, or one VaultTask has.
type WorkloadIdentity struct {
	namespace, serviceAccount string
	// task is the VaultTask whose session it is; empty: the pods'.
	task types.UID

	mu sync.Mutex
	// latest is the pod that came last. Its token is the freshest: the kubelet renews it for as long as the pod lives.
	latest *Workload
}

// NewWorkloadIdentity returns the identity of a workload, whose tokens it has only after Update.
func NewWorkloadIdentity(workload *Workload) *WorkloadIdentity {
	return &WorkloadIdentity{
		namespace: workload.Namespace, serviceAccount: workload.ServiceAccount, task: workload.Task,
	}
}

// String is namespace/name of the service account.
func (w *WorkloadIdentity) String() string { return w.namespace + "/" + w.serviceAccount }

// Namespace of the service account.
func (w *WorkloadIdentity) Namespace() string { return w.namespace }

// ServiceAccount is its name.
func (w *WorkloadIdentity) ServiceAccount() string { return w.serviceAccount }

// Task is the UID of the VaultTask whose session it is; empty for the pods'.
func (w *WorkloadIdentity) Task() types.UID { return w.task }

// Update notes the pod that came last.
func (w *WorkloadIdentity) Update(workload *Workload) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.latest == nil || workload.Token != nil { // a pod that is gone has none, but can still use the session
		w.latest = workload
	}
}

// token returns the token of the pod that came last.
func (w *WorkloadIdentity) token(ctx context.Context, audience string) (string, error) {
	w.mu.Lock()
	latest := w.latest
	w.mu.Unlock()
	if latest.Token == nil {
		return "", fault.Waiting(v1alpha1.ReasonCredentialMissing,
			"the pods of service account %s are gone, and with them the tokens to log in with", w)
	}
	return latest.Token(ctx, audience)
}

// IsWorkload tells whether a VaultConfig logs in as the pod that mounts a Connection, or as a VaultTask.
func IsWorkload(config *v1alpha1.VaultConfig) bool {
	auth := serviceAccountAuth(config)
	return auth != nil && isTrue(auth.Workload)
}

// StoresNoCredential tells whether a VaultConfig logs in with tokens that are made for it, or that pods bring.
func StoresNoCredential(config *v1alpha1.VaultConfig) bool { return serviceAccountAuth(config) != nil }

// IsWorkloadOfAllowedNamespaces tells whether it does so for those of other namespaces.
func IsWorkloadOfAllowedNamespaces(config *v1alpha1.VaultConfig) bool {
	return IsWorkload(config) && serviceAccountAuth(config).WorkloadScope == v1alpha1.WorkloadScopeAllowedNamespaces
}

func serviceAccountAuth(config *v1alpha1.VaultConfig) *v1alpha1.ServiceAccountAuth {
	return cmp.Or(config.Spec.Auth.Kubernetes, config.Spec.Auth.JWT)
}

func isTrue(flag *bool) bool { return flag != nil && *flag }
