package vaulttask

import (
	"context"
	"fmt"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

// changeVersions deletes, undeletes or destroys versions whose numbers stand in the claim: doing that twice is doing it
// once.
func (a *attempt) changeVersions(ctx context.Context, to *target) (*outcome, error) {
	operation := a.task.Spec.Operation
	if operation == v1alpha1.OperationDelete {
		version, err := secrets.KVVersion(ctx, to.session, to.location)
		if err != nil {
			return nil, err
		}
		if version == v1alpha1.KVVersion1 {
			return a.deleteUnversioned(ctx, to)
		}
	}
	a.called = true
	var versions []int64
	if a.resumed {
		versions = a.task.Status.Claim.Versions
	} else {
		var err error
		if versions, err = a.versions(ctx, to); err != nil {
			return nil, err
		}
	}
	if err := a.claim(ctx, &v1alpha1.TaskClaim{Versions: versions}); err != nil {
		return nil, err
	}
	a.state.Calling(nil)
	change, verb := secrets.DestroyVersions, "destroyed"
	switch operation {
	case v1alpha1.OperationDelete:
		change, verb = secrets.DeleteVersions, "deleted"
	case v1alpha1.OperationUndelete:
		change, verb = secrets.UndeleteVersions, "undeleted"
	default: // Destroy
	}
	written, err := change(ctx, to.session, to.location, versions)
	if err != nil {
		return nil, err
	}
	numbers := strings.Trim(strings.ReplaceAll(fmt.Sprint(versions), " ", ", "), "[]")
	return &outcome{
		result:  &v1alpha1.TaskResult{Path: written.Path, Versions: versions, RequestID: written.RequestID},
		message: fmt.Sprintf("%s version %s of %s", verb, numbers, written.Path),
	}, nil
}

// versions finds the numbers that the task means, and that they exist, where Vault lets it look.
func (a *attempt) versions(ctx context.Context, to *target) ([]int64, error) {
	spec := &a.task.Spec
	metadata, err := secrets.ReadMetadata(ctx, to.session, to.location)
	switch {
	case err == nil && isTrue(spec.AllVersions):
		numbers := make([]int64, len(metadata.Versions))
		for i, version := range metadata.Versions {
			numbers[len(numbers)-1-i] = version.Number
		}
		if len(numbers) == 0 {
			return nil, fault.Terminal(v1alpha1.ReasonSecretNotFound, "%s has no versions to destroy", metadata.Path).
				WithRemedy("use operation DeleteMetadata to remove what is left")
		}
		return numbers, nil
	case err == nil && len(spec.Versions) > 0:
		return spec.Versions, metadata.RequireVersions(spec.Versions)
	case err == nil && metadata.CurrentVersion > 0:
		return []int64{metadata.CurrentVersion}, nil
	case err == nil:
		return nil, fault.Terminal(v1alpha1.ReasonSecretNotFound, "%s has no version to delete; it holds metadata only", metadata.Path)
	case !fault.Is(err, v1alpha1.ReasonPermissionDenied) || isTrue(spec.AllVersions):
		return nil, err
	case len(spec.Versions) > 0: // the policy does not let it look whether they exist
		return spec.Versions, nil
	}
	current, err := secrets.CurrentVersion(ctx, to.session, to.location)
	if err == nil && current == 0 {
		err = fault.Terminal(v1alpha1.ReasonSecretNotFound, "there is no secret at %s", to.shown()).
			WithRemedy("correct secretPath")
	}
	return []int64{current}, err
}

func deleted(written *secrets.Written) *outcome {
	return &outcome{
		result:  &v1alpha1.TaskResult{Path: written.Path, RequestID: written.RequestID},
		message: "deleted " + written.Path,
	}
}
