package secrets

import (
	"net/http"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/printable"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// noEngine: Vault found no engine for the path. A 404 for a path inside one has no error text.
func noEngine(response *transport.Response) bool { return len(response.Errors) > 0 }

// notFound tells the reasons of a 404 apart. All but a mistake, such as a path without an engine, mean that the secret
// is absent. For a version that is gone, KV version 2 sends its metadata along.
func notFound(r transport.Request, response *transport.Response, from kvPath, version int64) error {
	missing := func(what, remedy string) *fault.Fault {
		return fault.Waiting(v1alpha1.ReasonSecretNotFound, "%s → 404 %s (%s)", r, what, r.Actor).WithRemedy("%s", remedy)
	}
	metadata, _ := response.Data["metadata"].(map[string]any)
	gone, _ := versionOf(metadata)
	deleted, _ := metadata["deletion_time"].(string)
	if deleted != "" && transport.Timestamp(deleted).IsZero() { // what Vault does not write
		deleted = printable.Quote(deleted)
	}
	destroyed, _ := metadata["destroyed"].(bool)
	switch {
	case noEngine(response):
		return missing("no secrets engine is mounted at "+from.engine, "enable one there, or correct enginePath")
	case destroyed:
		return fault.Waiting(v1alpha1.ReasonSecretNotFound, "%s → 404 version %d was destroyed (%s)", r, gone, r.Actor).
			WithRemedy("write a new version, or name another one").WithAbsent()
	case deleted != "":
		return fault.Waiting(v1alpha1.ReasonSecretNotFound, "%s → 404 version %d was deleted at %s (%s)", r, gone, deleted, r.Actor).
			WithRemedy("undelete it, or write a new version").WithAbsent()
	case from.version == v1alpha1.KVVersion1 && len(response.Warnings) > 0:
		// Vault warns about version 1's way of asking a version 2 engine, and about nothing else here.
		return fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s → 404 the engine at %s is KV version 2 (%s)", r, from.engine, r.Actor).
			WithRemedy("leave out kvVersion, or set it to V2")
	case version != 0:
		return missing("no such version, or no secret at all at this path", "name a version that exists, or correct secretPath").WithAbsent()
	}
	return missing("no secret at this path", "write it to Vault, or correct secretPath").WithAbsent()
}

// explainNotFound describes a 404 of a request; any other error stays as it is.
func explainNotFound(r transport.Request, response *transport.Response, in kvPath, err error) error {
	if response.Is(http.StatusNotFound) {
		return notFound(r, response, in, 0)
	}
	return err
}

// versionOf reads number and time of a version from its metadata.
func versionOf(metadata map[string]any) (int64, time.Time) {
	return transport.Number(metadata["version"]), transport.Timestamp(metadata["created_time"])
}
