package v1alpha1

// VaultTaskOperation is what a VaultTask does.
// +kubebuilder:validation:Enum=Read;Write;Patch;List;Delete;Undelete;Destroy;ReadMetadata;WriteMetadata;PatchMetadata;DeleteMetadata;GenericRead;GenericWrite;GenericList;GenericDelete
type VaultTaskOperation string

// Operations of a VaultTask. The first four and Delete know both versions of the KV engine, except Patch; the Generic
// ones act on any path; all others need KV version 2.
const (
	// OperationRead reads a secret and reports its version and key names.
	OperationRead VaultTaskOperation = "Read"
	// OperationWrite writes a secret, a new version with exactly these keys.
	OperationWrite VaultTaskOperation = "Write"
	// OperationPatch changes some keys of a secret and leaves the others as they are.
	OperationPatch VaultTaskOperation = "Patch"
	// OperationList lists the names in a folder.
	OperationList VaultTaskOperation = "List"
	// OperationDelete deletes versions so that they can be undeleted; in KV version 1 the secret, for good.
	OperationDelete VaultTaskOperation = "Delete"
	// OperationUndelete brings deleted versions back.
	OperationUndelete VaultTaskOperation = "Undelete"
	// OperationDestroy removes the content of versions for good.
	OperationDestroy VaultTaskOperation = "Destroy"
	// OperationReadMetadata reports the metadata of a secret and the history of its versions.
	OperationReadMetadata VaultTaskOperation = "ReadMetadata"
	// OperationWriteMetadata sets metadata of a secret, and replaces all custom metadata if some is given.
	OperationWriteMetadata VaultTaskOperation = "WriteMetadata"
	// OperationPatchMetadata changes what is given and leaves the rest, custom metadata included.
	OperationPatchMetadata VaultTaskOperation = "PatchMetadata"
	// OperationDeleteMetadata removes a secret with all of its versions for good.
	OperationDeleteMetadata VaultTaskOperation = "DeleteMetadata"
	// OperationGenericRead reads any path.
	OperationGenericRead VaultTaskOperation = "GenericRead"
	// OperationGenericWrite writes to any path: encrypts, signs, rotates, issues, configures.
	OperationGenericWrite VaultTaskOperation = "GenericWrite"
	// OperationGenericList lists any path.
	OperationGenericList VaultTaskOperation = "GenericList"
	// OperationGenericDelete deletes any path.
	OperationGenericDelete VaultTaskOperation = "GenericDelete"
)

// Generic tells whether the operation acts on any path of Vault's API, and not on a secret of a KV engine.
func (o VaultTaskOperation) Generic() bool {
	return o == OperationGenericRead || o == OperationGenericWrite || o == OperationGenericList ||
		o == OperationGenericDelete
}

// HasEffect tells the operations that change something in Vault from those that only look.
func (o VaultTaskOperation) HasEffect() bool {
	looks := o == OperationRead || o == OperationList || o == OperationReadMetadata || o == OperationGenericRead ||
		o == OperationGenericList
	return !looks
}
