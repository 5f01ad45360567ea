package vault

import (
	"errors"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// noEngine: Vault found no engine for the path. A 404 for a path inside one has no error text.
func (a *answer) noEngine() bool { return len(a.Errors) > 0 }

// notFound tells the reasons of a 404 apart. For a version that is gone, KV version 2 sends its metadata along.
func notFound(r request, a *answer, from place, version int64) error {
	missing := func(what, cure string) error {
		return fault.Waiting(v1alpha1.ReasonSecretNotFound, "%s → 404 %s (%s); %s", r, what, r.as, cure)
	}
	metadata, _ := a.Data["metadata"].(map[string]any)
	gone, _ := versionOf(metadata)
	deleted, _ := metadata["deletion_time"].(string)
	destroyed, _ := metadata["destroyed"].(bool)
	switch {
	case a.noEngine():
		return missing("no secrets engine is mounted at "+from.engine, "enable one there, or correct enginePath")
	case destroyed:
		return fault.Waiting(v1alpha1.ReasonSecretNotFound, "%s → 404 version %d was destroyed (%s); write a new version, or name another one",
			r, gone, r.as)
	case deleted != "":
		return fault.Waiting(v1alpha1.ReasonSecretNotFound, "%s → 404 version %d was deleted at %s (%s); undelete it, or write a new version",
			r, gone, deleted, r.as)
	case from.version == v1alpha1.KVVersion1 && len(a.Warnings) > 0:
		// Vault warns about version 1's way of asking a version 2 engine, and about nothing else here.
		return fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s → 404 the engine at %s is KV version 2 (%s); leave out kvVersion, or set it to V2",
			r, from.engine, r.as)
	case version != 0:
		return missing("no such version, or no secret at all at this path", "name a version that exists, or correct secretPath")
	}
	return missing("no secret at this path", "write it to Vault, or correct secretPath")
}

// explain adds to a fault that its path rests on a guess.
func (p place) explain(err error) error {
	f, isFault := errors.AsType[*fault.Fault](err)
	if !p.guessed || !isFault {
		return err
	}
	switch f.Reason {
	case v1alpha1.ReasonPermissionDenied, v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonInvalidRequest:
		return f.AddRemedy("Vault does not tell it the engine's KV version, so %s was assumed: set kvVersion if that is wrong", p.version)
	}
	return err
}
