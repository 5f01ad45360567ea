package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NamespaceName is the name of a namespace.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="write the name of a namespace; for several by a pattern, or for all of them (selector: {}), use selector"
type NamespaceName string

// PathPrefix is the beginning of a path in Vault, in whole parts.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:XValidation:rule="!self.replace('{{namespace}}', 'x').matches('[*{}%\\\\\\\\]|(^|/)[+](/|$)')",message="a path prefix is taken literally: leave out wildcards, escapes, and every placeholder but {{namespace}}"
// +kubebuilder:validation:XValidation:rule="!self.matches('^/|//|(^|/)[.]{1,2}(/|$)')",message="write the path prefix as in secret/team-{{namespace}}: engine first, without a slash before it, and without empty parts and dots"
type PathPrefix string

// NamespaceGrant lets other namespaces use a VaultConfig for the paths that it lists.
//
// +kubebuilder:validation:XValidation:rule="has(self.names) != has(self.selector)",message="set exactly one of names and selector"
type NamespaceGrant struct {
	// names of the namespaces.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Names []NamespaceName `json:"names,omitempty"`

	// selector selects namespaces by their labels; {} selects all of them. Whoever may label a namespace decides here:
	// the label kubernetes.io/metadata.name, which holds the name, cannot be forged.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] && has(e.values) && e.values.size() > 0 || e.operator in ['Exists', 'DoesNotExist'] && !has(e.values))",message="operator is In or NotIn with values, or Exists or DoesNotExist without"
	Selector *NamespaceSelector `json:"selector,omitempty"`

	// pathPrefixes are what these namespaces may reach, engine included: secret/shared, secret/team-{{namespace}}.
	// {{namespace}} stands for the name of the namespace that asks. A prefix covers whole parts only: secret/team-a
	// covers secret/team-a and secret/team-a/db, and not secret/team-ab. In a KV version 2 engine a prefix as Vault's
	// command line writes it covers the secrets below it with all that belongs to them (data, metadata, delete, …); one
	// that names such a part, as Vault's API does (secret/data/team-a), covers that part alone. A namespace that is
	// called like a word of Vault's API (config, keys, creds, …) gets nothing by secret/{{namespace}} where the engine
	// is no KV version 2 or may not be known: name its prefix literally. What no prefix covers is refused.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	PathPrefixes []PathPrefix `json:"pathPrefixes,omitempty"`

	// taskOperations are the operations that VaultTasks of these namespaces may do at these paths. None if not set:
	// then Connections may read, and nothing else.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	TaskOperations []VaultTaskOperation `json:"taskOperations,omitempty"`
}

// NamespaceSelector selects namespaces by their labels. Both lists must match; an empty selector matches every
// namespace.
type NamespaceSelector struct {
	// matchLabels are labels that the namespace must have.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	MatchLabels map[string]string `json:"matchLabels,omitempty"`

	// matchExpressions are conditions that the namespace's labels must meet.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	MatchExpressions []metav1.LabelSelectorRequirement `json:"matchExpressions,omitempty"`
}
