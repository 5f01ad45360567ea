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
)

// Namespaces are watched for their labels, which a VaultConfig's allowedNamespaces may select by; only their metadata
// is kept. A selector then costs no request, so that how long a response takes tells nothing about a VaultConfig that
// may not be used.
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch

// Use is what a namespace wants to do with a VaultConfig.
type Use = tenancy.Use

// access finds VaultConfigs for namespaces that may use them.
type access struct{ objects client.Reader }

// config returns the VaultConfig that a reference from the namespace means, if that may use it for anything at all.
func (a access) config(
	ctx context.Context, namespace string, ref v1alpha1.VaultConfigReference,
) (*v1alpha1.VaultConfig, error) {
	key := ConfigKey(namespace, ref)
	foreign := key.Namespace != namespace
	config := &v1alpha1.VaultConfig{}
	if err := a.objects.Get(ctx, key, config); err != nil {
		switch {
		case client.IgnoreNotFound(err) != nil:
			return nil, fault.Transient(v1alpha1.ReasonInternal,
				"VaultConfig %s cannot be read from the Kubernetes API: %v", key, err)
		case foreign:
			return nil, tenancy.NotAdmitted(key, namespace)
		}
		return nil, fault.Waiting(v1alpha1.ReasonConfigNotFound, "VaultConfig %s does not exist", key).
			WithRemedy("create it, or correct its name where it is referred to")
	}
	if foreign {
		if err := a.admit(ctx, config, namespace); err != nil {
			return nil, err
		}
	}
	if config.Spec.Enabled != nil && !*config.Spec.Enabled {
		return nil, fault.Waiting(v1alpha1.ReasonConfigDisabled, "VaultConfig %s is disabled (spec.enabled: false)", key).
			WithRemedy("its owner switches it on again")
	}
	return config, nil
}

// admit returns nil if another namespace than the VaultConfig's own may use it for anything at all.
func (a access) admit(ctx context.Context, config *v1alpha1.VaultConfig, namespace string) error {
	key := client.ObjectKeyFromObject(config)
	labels, err := a.labelsOf(ctx, config, namespace)
	if err != nil {
		return err
	}
	if !tenancy.Admits(config, namespace, labels) {
		return tenancy.NotAdmitted(key, namespace)
	}
	if auth.IsWorkload(config) && !auth.IsWorkloadOfAllowedNamespaces(config) {
		// A user who may change its url would be sent the tokens of another namespace's pods. Admission asks more of who
		// writes one for all.
		return fault.Waiting(v1alpha1.ReasonNamespaceNotAllowed, "VaultConfig %s may not be used from namespace %s: "+
			"with workload: true it serves the pods of its own namespace only", key, namespace).
			WithRemedy("create one in %s, or have its owner set workloadScope: AllowedNamespaces", namespace)
	}
	return nil
}

// permit returns nil if the namespace may use the VaultConfig so.
func (a access) permit(ctx context.Context, config *v1alpha1.VaultConfig, use Use) error {
	if use.Namespace == config.Namespace {
		return nil
	}
	labels, err := a.labelsOf(ctx, config, use.Namespace)
	if err != nil {
		return err
	}
	return tenancy.Permit(config, labels, use)
}

// labelsOf returns the labels of the requesting namespace, where the decision may depend on them. A namespace that is
// not known yet has none that could let it in.
func (a access) labelsOf(
	ctx context.Context, config *v1alpha1.VaultConfig, namespace string,
) (map[string]string, error) {
	if !tenancy.Selects(config) {
		return nil, nil
	}
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	err := a.objects.Get(ctx, types.NamespacedName{Name: namespace}, object)
	switch {
	case err == nil && object.Labels == nil:
		return map[string]string{}, nil
	case client.IgnoreNotFound(err) != nil:
		return nil, fault.Transient(v1alpha1.ReasonInternal,
			"the labels of namespace %s cannot be read from the Kubernetes API: %v", namespace, err)
	}
	return object.Labels, nil
}

// ConfigKey is the VaultConfig that a reference from a namespace means: by default one of its own.
func ConfigKey(namespace string, ref v1alpha1.VaultConfigReference) types.NamespacedName {
	if ref.Namespace != "" {
		namespace = ref.Namespace
	}
	return types.NamespacedName{Namespace: namespace, Name: ref.Name}
}
