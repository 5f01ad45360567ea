package resolver

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/tenancy"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

// Namespaces are watched for their labels, which a VaultConfig's allowedNamespaces may select by; only their metadata is kept.
// A selector then costs no request, so that how long an answer takes tells nothing about a VaultConfig that may not be used.
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch

// Use is what a namespace wants to do with a VaultConfig.
type Use = tenancy.Use

// Config returns the VaultConfig that a reference from the given namespace means, if that namespace may use it now for anything at
// all. For what, Permit says: for a VaultConfig of another namespace it must be asked before each use.
func (e *Engine) Config(ctx context.Context, namespace string, ref v1alpha1.VaultConfigReference) (*v1alpha1.VaultConfig, error) {
	key := configKey(namespace, ref)
	foreign := key.Namespace != namespace
	config := &v1alpha1.VaultConfig{}
	if err := e.objects.Get(ctx, key, config); err != nil {
		switch {
		case client.IgnoreNotFound(err) != nil:
			return nil, fault.Transient(v1alpha1.ReasonInternal, "VaultConfig %s cannot be read from the Kubernetes API: %v", key, err)
		case foreign:
			return nil, tenancy.Stranger(key, namespace)
		}
		return nil, fault.Waiting(v1alpha1.ReasonConfigNotFound, "VaultConfig %s does not exist", key)
	}
	if foreign {
		labels, err := e.labelsOf(ctx, config, namespace)
		if err != nil {
			return nil, err
		}
		if !tenancy.Admits(config, namespace, labels) {
			return nil, tenancy.Stranger(key, namespace)
		}
		if auth.IsWorkload(config) {
			// Whoever may change its url would be sent the tokens of another namespace's pods.
			return nil, fault.Waiting(v1alpha1.ReasonNamespaceNotAllowed, "VaultConfig %s may not be used from namespace %s: with workload: true it serves the pods "+
				"of its own namespace only; create one in %s", key, namespace, namespace)
		}
	}
	if config.Spec.Enabled != nil && !*config.Spec.Enabled {
		return nil, fault.Waiting(v1alpha1.ReasonConfigDisabled, "VaultConfig %s is disabled (spec.enabled: false)", key)
	}
	return config, nil
}

// Permit returns nil if the namespace may use the VaultConfig so, and else a fault NamespaceNotAllowed. A VaultConfig's own
// namespace may use it for everything. The path must be the one that is sent to Vault; Session.Confirm finds out path and engine.
func (e *Engine) Permit(ctx context.Context, config *v1alpha1.VaultConfig, use Use) error {
	if use.Namespace == config.Namespace {
		return nil
	}
	labels, err := e.labelsOf(ctx, config, use.Namespace)
	if err != nil {
		return err
	}
	return tenancy.Permit(config, labels, use)
}

// permitted returns the path of a source as Vault's API has it, if the namespace may read there.
func (e *Engine) permitted(ctx context.Context, namespace string, s *source) (string, error) {
	if namespace == s.config.Namespace {
		return secrets.APIPath(ctx, s.session, s.location)
	}
	path, engine, err := secrets.Confirm(ctx, s.session, s.location)
	if err != nil {
		return "", err
	}
	use := Use{Namespace: namespace, Path: path, KV2Engine: engine}
	if s.location.Write { // as a VaultTask that does the same
		use.Operation = v1alpha1.OperationGenericWrite
	}
	return path, e.Permit(ctx, s.config, use)
}

// labelsOf returns the labels of the namespace that asks, where the answer may depend on them. A namespace that is not known yet has
// none that could let it in.
func (e *Engine) labelsOf(ctx context.Context, config *v1alpha1.VaultConfig, namespace string) (map[string]string, error) {
	if !tenancy.Selects(config) {
		return nil, nil
	}
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	err := e.objects.Get(ctx, types.NamespacedName{Name: namespace}, object)
	switch {
	case err == nil && object.Labels == nil:
		return map[string]string{}, nil
	case client.IgnoreNotFound(err) != nil:
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the labels of namespace %s cannot be read from the Kubernetes API: %v", namespace, err)
	}
	return object.Labels, nil
}

func configKey(namespace string, ref v1alpha1.VaultConfigReference) types.NamespacedName {
	if ref.Namespace != "" {
		namespace = ref.Namespace
	}
	return types.NamespacedName{Namespace: namespace, Name: ref.Name}
}
