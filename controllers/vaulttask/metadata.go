package vaulttask

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

// changeMetadata sets metadata to what the task says: doing that twice is doing it once.
func (a *attempt) changeMetadata(ctx context.Context, to *target) (*outcome, error) {
	a.called = true
	if err := a.claim(ctx, &v1alpha1.TaskClaim{}); err != nil {
		return nil, err
	}
	a.state.Calling(nil)
	change := secrets.WriteMetadata
	if a.task.Spec.Operation == v1alpha1.OperationPatchMetadata {
		change = secrets.PatchMetadata
	}
	written, err := change(ctx, to.session, to.location, metadataChange(a.task.Spec.Metadata))
	if err != nil {
		return nil, err
	}
	return &outcome{
		result:  &v1alpha1.TaskResult{Path: written.Path, RequestID: written.RequestID},
		message: "set metadata of " + written.Path,
	}, nil
}

func metadataChange(spec *v1alpha1.SecretMetadataSpec) secrets.MetadataChange {
	change := secrets.MetadataChange{MaxVersions: spec.MaxVersions, CASRequired: spec.CASRequired}
	if spec.DeleteVersionAfter != nil {
		change.DeleteVersionAfter = &spec.DeleteVersionAfter.Duration
	}
	if len(spec.CustomMetadata)+len(spec.RemoveCustomMetadata) > 0 {
		change.Custom = map[string]*string{}
	}
	for _, key := range spec.RemoveCustomMetadata {
		change.Custom[key] = nil
	}
	for key, value := range spec.CustomMetadata {
		text := string(value)
		change.Custom[key] = &text
	}
	return change
}

// deleteMetadata removes a secret with all of its versions. The claim says when the secret was created, so that one
// that somebody makes after it is gone is not taken for it.
func (a *attempt) deleteMetadata(ctx context.Context, to *target) (*outcome, error) {
	a.called = true
	metadata, err := secrets.ReadMetadata(ctx, to.session, to.location)
	claim := &v1alpha1.TaskClaim{}
	if a.resumed {
		claim.CreatedTime = a.task.Status.Claim.CreatedTime
	}
	switch {
	case a.resumed && fault.Is(err, v1alpha1.ReasonSecretNotFound):
		return deleted(&secrets.Written{Path: to.shown()}), nil
	case err != nil && fault.From(err).Class == fault.ClassTransient:
		return nil, err
	case a.resumed && (err != nil || claim.CreatedTime == nil):
		return nil, unknown("an earlier attempt may have removed %s, and that cannot be looked up", to.shown())
	case a.resumed && !created(metadata).Equal(claim.CreatedTime):
		return deleted(&secrets.Written{Path: metadata.Path}), nil // what is there now was made after it
	case err != nil && !fault.Is(err, v1alpha1.ReasonPermissionDenied):
		return nil, err
	case !a.resumed && err == nil:
		claim.CreatedTime = created(metadata)
	}
	if err := a.claim(ctx, claim); err != nil {
		return nil, err
	}
	a.state.Calling(nil)
	written, err := secrets.DeleteMetadata(ctx, to.session, to.location)
	if err != nil {
		return nil, err
	}
	return deleted(written), nil
}

// created is when a secret was made, as finely as the API stores it.
func created(metadata *secrets.Metadata) *metav1.MicroTime {
	return &metav1.MicroTime{Time: metadata.CreatedTime.Truncate(1000)}
}
