package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VaultTaskStatus is what became of a VaultTask.
type VaultTaskStatus struct {
	// conditions are Complete or Failed once the task is done, as on a Job, and Ready; Reconciling and Stalled while
	// true; Suspended in place of Ready while suspend is true.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// path that the task acts on, engine included.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path,omitempty"`

	// rerun is the value of the annotation sallyport.dev/rerun that the current run answers to.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Rerun string `json:"rerun,omitempty"`

	// startTime is when the controller first looked at the current run.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// completionTime is when the current run ended, well or not.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// failures is the number of failed attempts at the current run, counted where backoffLimit is set.
	// +optional
	Failures int32 `json:"failures,omitempty"`

	// connection is what connectionRef named when the task first used it, or first waited for its time. If it is edited
	// or made anew, runs wait for the annotation sallyport.dev/rerun.
	// +optional
	Connection *TaskConnection `json:"connection,omitempty"`

	// claim is written before Vault is called, so that a controller that dies in between can tell what it had begun.
	// +optional
	Claim *TaskClaim `json:"claim,omitempty"`

	// result of the operation.
	// +optional
	Result *TaskResult `json:"result,omitempty"`

	// lastScheduleTime is when the latest run of the schedule was due.
	// +optional
	LastScheduleTime *metav1.Time `json:"lastScheduleTime,omitempty"`

	// nextScheduleTime is when the next run of the schedule is due.
	// +optional
	NextScheduleTime *metav1.Time `json:"nextScheduleTime,omitempty"`

	// history of the schedule's runs, the latest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=200
	History []TaskRun `json:"history,omitempty"`
}

// TaskConnection is one state of a Connection.
type TaskConnection struct {
	// uid of the Connection.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid,omitempty"`

	// generation of its spec.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Generation int64 `json:"generation,omitempty"`
}

// TaskClaim records what the controller was about to do.
type TaskClaim struct {
	// id of the claim, made for it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ID string `json:"id,omitempty"`

	// cas is the check-and-set version that the write carries; with it Vault accepts the write at most once.
	// +optional
	CAS *int64 `json:"cas,omitempty"`

	// versions that are deleted, undeleted or destroyed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16384
	Versions []int64 `json:"versions,omitempty"`

	// createdTime is when the secret that DeleteMetadata removes was created; one that is made anew has another.
	// +optional
	CreatedTime *metav1.MicroTime `json:"createdTime,omitempty"`
}

// TaskResult is what an operation did, never the values that it handled.
type TaskResult struct {
	// path that was read or written, as Vault's API has it, engine included.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path,omitempty"`

	// version that was read or written.
	// +optional
	Version int64 `json:"version,omitempty"`

	// versions that were deleted, undeleted or destroyed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16384
	Versions []int64 `json:"versions,omitempty"`

	// createdTime is when that version was written to Vault.
	// +optional
	CreatedTime *metav1.Time `json:"createdTime,omitempty"`

	// keys of the secret, names in the folder, or keys of Vault's answer; the first thousand.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MaxLength=1024
	Keys []string `json:"keys,omitempty"`

	// keysOmitted is how many more keys there are.
	// +optional
	KeysOmitted int32 `json:"keysOmitted,omitempty"`

	// metadata of the secret.
	// +optional
	Metadata *SecretMetadata `json:"metadata,omitempty"`

	// requestID is Vault's ID of the request, to be found in Vault's audit log.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	RequestID string `json:"requestID,omitempty"`

	// sealed is the values as a JSON object, encrypted with age to spec.result.sealTo.
	// +optional
	// +kubebuilder:validation:MaxLength=786432
	Sealed string `json:"sealed,omitempty"`

	// wrapped is where the values can be unwrapped, once.
	// +optional
	Wrapped *WrappedResult `json:"wrapped,omitempty"`
}

// WrappedResult is a response-wrapping token.
type WrappedResult struct {
	// token to unwrap the values with, once.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Token string `json:"token,omitempty"`

	// expireTime is when the token dies.
	// +optional
	ExpireTime *metav1.Time `json:"expireTime,omitempty"`
}

// SecretMetadata is what a KV version 2 engine knows of a secret.
type SecretMetadata struct {
	// createdTime is when the secret was first written.
	// +optional
	CreatedTime *metav1.Time `json:"createdTime,omitempty"`

	// updatedTime is when it was last changed.
	// +optional
	UpdatedTime *metav1.Time `json:"updatedTime,omitempty"`

	// currentVersion is the newest version.
	// +optional
	CurrentVersion int64 `json:"currentVersion,omitempty"`

	// oldestVersion that is kept; 0 if none was dropped yet.
	// +optional
	OldestVersion int64 `json:"oldestVersion,omitempty"`

	// maxVersions is how many versions are kept; 0 is the engine's setting.
	// +optional
	MaxVersions int64 `json:"maxVersions,omitempty"`

	// casRequired is whether every write must carry a check-and-set version.
	// +optional
	CASRequired bool `json:"casRequired,omitempty"`

	// deleteVersionAfter is the age at which a version is deleted; absent if never.
	// +optional
	DeleteVersionAfter *metav1.Duration `json:"deleteVersionAfter,omitempty"`

	// customMetadata is text by key.
	// +optional
	// +mapType=atomic
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(key, key.size() <= 128 && self[key].size() <= 512)",message="custom metadata has keys of at most 128 and values of at most 512 characters"
	CustomMetadata map[string]string `json:"customMetadata,omitempty"`

	// versions of the secret, the newest first; at most a hundred.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Versions []SecretVersion `json:"versions,omitempty"`
}

// SecretVersion is one version of a KV version 2 secret.
type SecretVersion struct {
	// version is its number.
	// +required
	// +kubebuilder:validation:Minimum=1
	Version int64 `json:"version,omitempty"`

	// createdTime is when it was written.
	// +optional
	CreatedTime *metav1.Time `json:"createdTime,omitempty"`

	// deletionTime is when it was deleted, or will be.
	// +optional
	DeletionTime *metav1.Time `json:"deletionTime,omitempty"`

	// destroyed is whether its content is gone for good.
	// +optional
	Destroyed bool `json:"destroyed,omitempty"`
}

// TaskRun is one run of a schedule that has ended.
type TaskRun struct {
	// startTime is when it began.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// completionTime is when it ended.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// reason is how it ended: Succeeded, or why it failed.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`

	// version that was written or read.
	// +optional
	Version int64 `json:"version,omitempty"`
}
