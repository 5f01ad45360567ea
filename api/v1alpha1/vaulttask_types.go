package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VaultTask is one operation on Vault. It runs once, and its outcome is reported in status: versions, times and key
// names, never values.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=sallyport,shortName=vt
// +kubebuilder:printcolumn:name="Operation",type=string,JSONPath=`.spec.operation`
// +kubebuilder:printcolumn:name="Path",type=string,JSONPath=`.spec.secretPath`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Version",type=integer,JSONPath=`.status.result.version`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VaultTask struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec is the operation.
	// +required
	Spec VaultTaskSpec `json:"spec,omitempty,omitzero"`

	// status is what became of it.
	// +optional
	Status VaultTaskStatus `json:"status,omitempty,omitzero"`
}

// VaultTaskList is a list of VaultTasks.
//
// +kubebuilder:object:root=true
type VaultTaskList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VaultTask `json:"items"`
}

// VaultTaskOperation is what a VaultTask does.
// +kubebuilder:validation:Enum=Read;Write
type VaultTaskOperation string

// Operations of a VaultTask.
const (
	// OperationRead reads a secret of a KV version 2 engine and reports its version and key names.
	OperationRead VaultTaskOperation = "Read"
	// OperationWrite writes a new version of a secret in a KV version 2 engine.
	OperationWrite VaultTaskOperation = "Write"
)

// TaskValue is one value to write.
// +kubebuilder:validation:MaxLength=524288
type TaskValue string

// VaultTaskSpec is one operation on a secret of a KV version 2 engine. It cannot be changed: create another VaultTask, or
// set the annotation sallyport.dev/rerun to run this one again.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a VaultTask's spec cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
// +kubebuilder:validation:XValidation:rule="self.operation != 'Write' || has(self.data)",message="operation Write needs data, the keys and values to write"
// +kubebuilder:validation:XValidation:rule="self.operation == 'Write' || !has(self.data)",message="data belongs to operation Write only; remove data"
// +kubebuilder:validation:XValidation:rule="self.operation == 'Write' || !has(self.cas)",message="cas belongs to operation Write only; remove cas"
// +kubebuilder:validation:XValidation:rule="self.operation == 'Read' || !has(self.version)",message="version belongs to operation Read only; remove version"
type VaultTaskSpec struct {
	// vaultConfigRef names the VaultConfig to use.
	// +required
	VaultConfigRef VaultConfigReference `json:"vaultConfigRef,omitempty,omitzero"`

	// operation to run: Read or Write.
	// +required
	Operation VaultTaskOperation `json:"operation,omitempty"`

	// enginePath is the mount path of the KV version 2 engine; by default the VaultConfig's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	EnginePath string `json:"enginePath,omitempty"`

	// secretPath is the path of the secret inside the engine, with or without data/.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	SecretPath string `json:"secretPath,omitempty"`

	// version to read; by default the latest.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Version *int64 `json:"version,omitempty"`

	// data to write, text by key. Whoever may read this VaultTask can read what stands here literally; to copy a secret inside
	// Vault, use vault.secret(config:path.key), which is read when the task runs and is stored nowhere in Kubernetes. A
	// value that is one reference and nothing else keeps the secret's JSON type.
	// +optional
	// +mapType=atomic
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=512
	Data map[string]TaskValue `json:"data,omitempty"`

	// cas is the check-and-set version: the write happens only if the secret's current version is this one, 0 meaning that
	// the secret does not exist. If it is not set, the version found when the task starts is used, so that the task
	// writes exactly once.
	// +optional
	// +kubebuilder:validation:Minimum=0
	CAS *int64 `json:"cas,omitempty"`
}

// VaultTaskStatus is what became of a VaultTask.
type VaultTaskStatus struct {
	// conditions are Complete or Failed once the task is done, as on a Job, and Ready; Reconciling and Stalled while true.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// startTime is when the controller claimed the current run.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// completionTime is when the current run ended, well or not.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// claim is written before Vault is called, so that a controller that dies in between can tell what it had begun.
	// +optional
	Claim *TaskClaim `json:"claim,omitempty"`

	// result of the operation.
	// +optional
	Result *TaskResult `json:"result,omitempty"`
}

// TaskClaim records what the controller was about to do.
type TaskClaim struct {
	// rerun is the value of the annotation sallyport.dev/rerun that this run answers to.
	// +optional
	Rerun string `json:"rerun,omitempty"`

	// cas is the check-and-set version that the write carries; with it Vault accepts the write at most once.
	// +optional
	CAS *int64 `json:"cas,omitempty"`
}

// TaskResult is what an operation did, never the values that it handled.
type TaskResult struct {
	// path that was read or written, as Vault's API has it, engine included.
	// +optional
	Path string `json:"path,omitempty"`

	// version that was read or written.
	// +optional
	Version int64 `json:"version,omitempty"`

	// createdTime is when that version was written to Vault.
	// +optional
	CreatedTime *metav1.Time `json:"createdTime,omitempty"`

	// keys of the secret.
	// +optional
	// +listType=atomic
	Keys []string `json:"keys,omitempty"`

	// requestID is Vault's ID of the request, to be found in Vault's audit log.
	// +optional
	RequestID string `json:"requestID,omitempty"`
}
