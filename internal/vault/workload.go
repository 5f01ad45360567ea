package vault

import (
	"context"
	"sync"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Workload is who mounts a Connection: a pod, whose service account VaultConfigs with workload: true log in as.
type Workload struct {
	// Namespace and ServiceAccount of the pod, as the API server confirmed them.
	Namespace, ServiceAccount string
	// Token returns the pod's own token for an audience, after the API server confirmed it. It is asked for only when a login is due.
	// Its errors are faults. It is nil if the pod is gone: then only a session that is logged in already can be used.
	Token func(ctx context.Context, audience string) (string, error)
}

// visitor is the identity behind a workload's session, which all pods of one service account share.
type visitor struct {
	namespace, serviceAccount string

	mu sync.Mutex
	// latest is the pod that came last. Its token is the freshest: the kubelet renews it for as long as the pod lives.
	latest *Workload
}

func (v *visitor) welcome(workload *Workload) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.latest == nil || workload.Token != nil { // who has none, its pod is gone, can still use the session
		v.latest = workload
	}
}

// token returns the token of the pod that came last.
func (v *visitor) token(ctx context.Context, audience string) (string, error) {
	v.mu.Lock()
	latest := v.latest
	v.mu.Unlock()
	if latest.Token == nil {
		return "", fault.Waiting(v1alpha1.ReasonCredentialMissing, "the pods of service account %s/%s are gone, and with them the tokens to log in with",
			v.namespace, v.serviceAccount)
	}
	return latest.Token(ctx, audience)
}

// serviceAccountOf returns the settings of a VaultConfig that logs in with a service account token, nil for others.
func serviceAccountOf(config *v1alpha1.VaultConfig) *v1alpha1.ServiceAccountAuth {
	switch auth := &config.Spec.Auth; {
	case auth.Kubernetes != nil:
		return auth.Kubernetes
	case auth.JWT != nil:
		return auth.JWT
	}
	return nil
}

// IsWorkload tells whether a VaultConfig logs in as the pod that mounts a Connection.
func IsWorkload(config *v1alpha1.VaultConfig) bool {
	auth := serviceAccountOf(config)
	return auth != nil && isTrue(auth.Workload)
}

func isTrue(flag *bool) bool { return flag != nil && *flag }
