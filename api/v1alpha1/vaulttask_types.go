package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VaultTask is one operation on Vault. It runs once, or on a schedule, and its outcome is reported in status: versions,
// times and key names, never values.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=sallyport,shortName=vt
// +kubebuilder:printcolumn:name="Operation",type=string,JSONPath=`.spec.operation`
// +kubebuilder:printcolumn:name="Path",type=string,JSONPath=`.status.path`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Suspend",type=boolean,JSONPath=`.spec.suspend`
// +kubebuilder:printcolumn:name="Version",type=integer,JSONPath=`.status.result.version`
// +kubebuilder:printcolumn:name="Next",type=string,priority=1,JSONPath=`.status.nextScheduleTime`
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
	// +default={"observedGeneration":-1}
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

// The API server evaluates all rules at every write of a task, its status included, and each field that a rule names
// costs it a copy of the schema of all fields. So a rule first asks what decides most often, and rules with a question
// in common are one.

// VaultTaskSpec is one operation on Vault. What it does cannot be changed: create another VaultTask, or set the
// annotation sallyport.dev/rerun to run this one again. suspend, schedule and the limits can be changed at any time.
//
// +kubebuilder:validation:ExactlyOneOf=vaultConfigRef;vault;connectionRef
// +kubebuilder:validation:XValidation:rule="self == oldSelf || (has(self.vaultConfigRef) == has(oldSelf.vaultConfigRef) && has(self.serviceAccountName) == has(oldSelf.serviceAccountName) && has(self.vault) == has(oldSelf.vault) && has(self.connectionRef) == has(oldSelf.connectionRef) && has(self.enginePath) == has(oldSelf.enginePath) && has(self.secretPath) == has(oldSelf.secretPath) && has(self.kvVersion) == has(oldSelf.kvVersion) && has(self.path) == has(oldSelf.path) && has(self.version) == has(oldSelf.version) && has(self.versions) == has(oldSelf.versions) && has(self.allVersions) == has(oldSelf.allVersions) && has(self.cas) == has(oldSelf.cas) && has(self.overwrite) == has(oldSelf.overwrite) && has(self.data) == has(oldSelf.data) && has(self.dataFrom) == has(oldSelf.dataFrom) && has(self.generate) == has(oldSelf.generate) && has(self.unwrap) == has(oldSelf.unwrap) && has(self.removeKeys) == has(oldSelf.removeKeys) && has(self.metadata) == has(oldSelf.metadata) && has(self.result) == has(oldSelf.result))",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
//
// +kubebuilder:validation:XValidation:rule="self.operation.startsWith('Generic') ? has(self.path) || has(self.connectionRef) : has(self.secretPath) || self.operation == 'List' || has(self.connectionRef)",messageExpression="'operation ' + self.operation + (self.operation.startsWith('Generic') ? ' needs path, as Vault\\'s API has it: transit/keys/shop/rotate' : ' needs secretPath, the path of the secret inside its engine')"
// +kubebuilder:validation:XValidation:rule="self.operation.startsWith('Generic') ? !has(self.enginePath) && !has(self.secretPath) && !has(self.kvVersion) : !has(self.path)",messageExpression="self.operation.startsWith('Generic') ? 'operation ' + self.operation + ' takes the whole path in path; remove enginePath, secretPath and kvVersion' : 'path belongs to the Generic operations only; remove path, and set enginePath and secretPath'"
// +kubebuilder:validation:XValidation:rule="!has(self.serviceAccountName) || has(self.vaultConfigRef)",message="serviceAccountName is whom a VaultConfig with workload: true logs in: set vaultConfigRef, or remove serviceAccountName"
// +kubebuilder:validation:XValidation:rule="!has(self.version) || self.operation == 'Read'",message="version belongs to operation Read only; remove version"
// +kubebuilder:validation:XValidation:rule="!has(self.versions) || self.operation in ['Delete', 'Undelete', 'Destroy']",message="versions belongs to operations Delete, Undelete and Destroy only; remove versions"
// +kubebuilder:validation:XValidation:rule="!has(self.allVersions) || self.operation == 'Destroy'",message="allVersions belongs to operation Destroy only; remove allVersions"
// +kubebuilder:validation:XValidation:rule="self.operation == 'Undelete' ? has(self.versions) : self.operation != 'Destroy' || has(self.versions) != (has(self.allVersions) && self.allVersions)",messageExpression="self.operation == 'Undelete' ? 'operation Undelete needs versions, the numbers of the versions to bring back' : 'operation Destroy needs either versions, the numbers of the versions to destroy, or allVersions: true'"
// +kubebuilder:validation:XValidation:rule="!(self.operation in ['Write', 'Patch']) || has(self.data) || has(self.dataFrom) || has(self.generate) || has(self.unwrap) || (self.operation == 'Patch' && has(self.removeKeys))",messageExpression="self.operation == 'Write' ? 'operation Write needs something to write: data, dataFrom, generate or unwrap' : 'operation Patch needs something to change: data, dataFrom, generate, unwrap or removeKeys'"
// +kubebuilder:validation:XValidation:rule="self.operation in ['Write', 'Patch', 'GenericWrite'] || !(has(self.data) || has(self.dataFrom) || has(self.generate) || has(self.unwrap))",messageExpression="[has(self.data) ? 'data' : has(self.dataFrom) ? 'dataFrom' : has(self.generate) ? 'generate' : 'unwrap'].map(field, field + ' belongs to operations Write, Patch and GenericWrite only; remove ' + field)[0]"
// +kubebuilder:validation:XValidation:rule="!has(self.removeKeys) || self.operation == 'Patch'",message="removeKeys belongs to operation Patch only; remove removeKeys"
// +kubebuilder:validation:XValidation:rule="!has(self.cas) || self.operation == 'Write' || (self.operation == 'Patch' && self.cas > 0)",messageExpression="self.operation == 'Patch' ? 'operation Patch changes a secret that exists, so cas must be at least 1' : 'cas belongs to operations Write and Patch only; remove cas'"
// +kubebuilder:validation:XValidation:rule="!has(self.overwrite) || (has(self.generate) && !has(self.cas))",messageExpression="has(self.generate) ? 'cas says what may be written over; remove overwrite or cas' : 'overwrite is about generated values; remove overwrite, or add generate'"
// +kubebuilder:validation:XValidation:rule="!has(self.generate) || self.operation != 'GenericWrite' || (has(self.overwrite) && self.overwrite)",message="generate with operation GenericWrite needs overwrite: true, for nothing keeps it from replacing what is there"
// +kubebuilder:validation:XValidation:rule="!has(self.schedule) || (!has(self.cas) && !has(self.unwrap) && !has(self.ttlSecondsAfterFinished) && (!has(self.generate) || has(self.overwrite)))",messageExpression="has(self.cas) ? 'cas fits one version, and schedule writes many; remove cas or schedule' : has(self.unwrap) ? 'a wrapping token can be unwrapped once; remove schedule or unwrap' : has(self.ttlSecondsAfterFinished) ? 'a task with a schedule never finishes; remove ttlSecondsAfterFinished, schedule has history limits' : 'generate with schedule needs overwrite: true, for generated values replace nothing otherwise'"
// +kubebuilder:validation:XValidation:rule="has(self.metadata) == (self.operation in ['WriteMetadata', 'PatchMetadata'])",message="metadata belongs to operations WriteMetadata and PatchMetadata, and they need it; add or remove metadata"
// +kubebuilder:validation:XValidation:rule="!has(self.metadata) || self.operation == 'PatchMetadata' || !has(self.metadata.removeCustomMetadata)",message="removeCustomMetadata belongs to operation PatchMetadata only; WriteMetadata replaces all custom metadata"
// +kubebuilder:validation:XValidation:rule="!has(self.result) || (self.operation in ['Read', 'Write', 'Patch', 'GenericRead', 'GenericWrite'] && (!has(self.result.wrap) || has(self.vaultConfigRef)))",messageExpression="self.operation in ['Read', 'Write', 'Patch', 'GenericRead', 'GenericWrite'] ? 'result.wrap needs vaultConfigRef, whose VaultConfig says allowWrappedResults: true; use result.sealTo' : 'result belongs to operations with values: Read, Write, Patch, GenericRead and GenericWrite; remove result'"
// +kubebuilder:validation:XValidation:rule="!has(self.kvVersion) || self.kvVersion != 'V1' || self.operation in ['Read', 'Write', 'List', 'Delete']",messageExpression="'operation ' + self.operation + ' needs a KV version 2 engine; remove kvVersion: V1'"
type VaultTaskSpec struct {
	TaskTarget `json:",inline"`

	// operation to run. Read, Write, Patch, List and Delete act on a secret of a KV engine; Undelete and Destroy on its
	// versions; ReadMetadata (with the history of versions), WriteMetadata, PatchMetadata and DeleteMetadata on what
	// the engine knows of it. GenericRead, GenericWrite, GenericList and GenericDelete act on any path of Vault's API.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	Operation VaultTaskOperation `json:"operation,omitempty"`

	// enginePath is the mount path of the KV engine; by default the VaultConfig's, or the Connection's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	EnginePath string `json:"enginePath,omitempty"`

	// secretPath is the path of the secret inside the engine, with or without data/. For List it is the folder, and the
	// engine's top if it is not set.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	SecretPath string `json:"secretPath,omitempty"`

	// kvVersion overrides the detection of the engine's KV version.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	KVVersion KVVersion `json:"kvVersion,omitempty"`

	// path for the Generic operations, as Vault's API has it and engine included: transit/keys/shop/rotate. A path with
	// a part sys, auth, identity or cubbyhole must be allowed by the VaultConfig's allowedSystemPaths.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	Path string `json:"path,omitempty"`

	// version to read; by default the latest.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	Version *int64 `json:"version,omitempty"`

	// versions to delete, undelete or destroy. Delete without versions deletes the latest, as found when the task
	// starts.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	Versions []int64 `json:"versions,omitempty"`

	// allVersions destroys every version that there is when the task starts.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	AllVersions *bool `json:"allVersions,omitempty"`

	TaskInput `json:",inline"`

	// cas is the check-and-set version: the write happens only if the secret's current version is this one, 0 meaning
	// that the secret does not exist. If it is not set, the version found when the task starts is used, so that the
	// task writes exactly once; with generate it is 0, so that nothing is replaced. KV version 2.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	CAS *int64 `json:"cas,omitempty"`

	// overwrite lets generated values replace a secret that exists; for Patch, keys that exist. For rotations.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	Overwrite *bool `json:"overwrite,omitempty"`

	// result says how the values that were read, written or answered can be had. Without it they are not kept.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	Result *TaskResultRequest `json:"result,omitempty"`

	TaskLifecycle `json:",inline"`
}
