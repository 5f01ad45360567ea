package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TaskValue is one value to write.
// +kubebuilder:validation:MaxLength=524288
type TaskValue string

// TaskInput is what an operation writes. Each key may come from one source only.
type TaskInput struct {
	// data to write, text by key. Every reader of this VaultTask can read literal text in it; to copy a secret inside
	// Vault, use vault.secret(config:path.key), which is read when the task runs and is stored nowhere in Kubernetes. A
	// value that is one reference and nothing else keeps the secret's JSON type.
	// +optional
	// +mapType=atomic
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=512
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	Data map[string]TaskValue `json:"data,omitempty"`

	// dataFrom takes keys of Secrets and ConfigMaps of this namespace, literally.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	DataFrom []TaskDataSource `json:"dataFrom,omitempty"`

	// generate makes random values. Unless overwrite or cas says otherwise they are only written where nothing is yet,
	// so that creating or running the task again never replaces a password by accident.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	Generate []GeneratedValue `json:"generate,omitempty"`

	// unwrap takes what a response-wrapping token holds. The token is looked up first, and unwrapped at most once.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	Unwrap *WrappingTokenSource `json:"unwrap,omitempty"`

	// removeKeys are the keys that Patch removes.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	RemoveKeys []string `json:"removeKeys,omitempty"`

	// metadata to set with WriteMetadata or PatchMetadata.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	Metadata *SecretMetadataSpec `json:"metadata,omitempty"`
}

// TaskDataSource names a Secret or ConfigMap whose keys are written.
//
// +kubebuilder:validation:ExactlyOneOf=secretRef;configMapRef
type TaskDataSource struct {
	// secretRef names a Secret of this namespace. Whoever writes the task must be allowed to get it.
	// +optional
	SecretRef *LocalReference `json:"secretRef,omitempty"`

	// configMapRef names a ConfigMap of this namespace.
	// +optional
	ConfigMapRef *LocalReference `json:"configMapRef,omitempty"`

	// keys to take; by default all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Keys []string `json:"keys,omitempty"`

	// prefix is put in front of each key.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Prefix string `json:"prefix,omitempty"`
}

// LocalReference names an object in the same namespace.
type LocalReference struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// GeneratedValue is a value that is made when the task runs.
//
// +kubebuilder:validation:XValidation:rule="!has(self.passwordPolicy) || (!has(self.length) && !has(self.charset))",message="passwordPolicy says length and characters itself; remove length and charset"
type GeneratedValue struct {
	// key to write it to.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`

	// length in characters; 32 if not set.
	// +optional
	// +kubebuilder:validation:Minimum=8
	// +kubebuilder:validation:Maximum=4096
	Length *int32 `json:"length,omitempty"`

	// charset is the characters to choose from, each once; letters and digits if not set.
	// +optional
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=256
	Charset string `json:"charset,omitempty"`

	// passwordPolicy is the name of a password policy in Vault that makes the value.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][-_.A-Za-z0-9]*$`
	PasswordPolicy string `json:"passwordPolicy,omitempty"`
}

// WrappingTokenSource names the Secret that holds a response-wrapping token.
type WrappingTokenSource struct {
	// secretKeyRef names the Secret key that holds the token, in this namespace.
	// +required
	SecretKeyRef SecretKeyReference `json:"secretKeyRef,omitempty,omitzero"`
}

// SecretMetadataSpec is metadata of a KV version 2 secret. What is not set stays as it is.
//
// +kubebuilder:validation:MinProperties=1
type SecretMetadataSpec struct {
	// customMetadata is text by key, for people and programs. It is no place for secrets: Vault shows it to every token
	// with the right to list, and so does this object. WriteMetadata replaces all of it.
	// +optional
	// +mapType=atomic
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=64
	CustomMetadata map[string]MetadataValue `json:"customMetadata,omitempty"`

	// removeCustomMetadata are keys of the custom metadata that PatchMetadata removes.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	RemoveCustomMetadata []string `json:"removeCustomMetadata,omitempty"`

	// maxVersions is how many versions are kept; 0 is the engine's setting.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MaxVersions *int64 `json:"maxVersions,omitempty"`

	// casRequired is whether every write must carry a check-and-set version.
	// +optional
	CASRequired *bool `json:"casRequired,omitempty"`

	// deleteVersionAfter is the age at which a version is deleted, written as numbers with the units h, m or s: 720h
	// for thirty days; 0s is never.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^(0|([0-9]+([.][0-9]+)?(h|m|s|ms|us|ns))+)$')",message="write deleteVersionAfter as numbers with the units h, m, s or ms, such as 90s, 5m or 1h30m; there is no unit for days: 24h"
	DeleteVersionAfter *metav1.Duration `json:"deleteVersionAfter,omitempty"`
}

// MetadataValue is one value of a secret's custom metadata.
// +kubebuilder:validation:MaxLength=512
type MetadataValue string
