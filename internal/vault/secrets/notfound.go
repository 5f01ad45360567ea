package secrets

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
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
	return missing("no secret at this path", cmp.Or(from.shorter(), "write it to Vault, or correct secretPath")).WithAbsent()
}

// shorter is the remedy for a path inside a KV engine that begins with what is no part of it: the whole path of Vault's
// API, or what KV version 2 has in its paths; empty if it does not.
func (p kvPath) shorter() string {
	if p.version == notKV {
		return ""
	}
	rest := strings.TrimPrefix(p.path, apiVersion+p.engine+"/")
	rest = strings.TrimPrefix(rest, p.engine+"/")
	for _, part := range []string{dataPrefix, "metadata/"} {
		rest = strings.TrimPrefix(rest, part)
	}
	if rest == "" || rest == p.path {
		return ""
	}
	why := "enginePath, v1/ and data/ are no part of it"
	if p.version == v1alpha1.KVVersion1 && p.path == dataPrefix+rest {
		why = "an engine of KV version 1 has no data/ in its paths"
	}
	return fmt.Sprintf("set secretPath to %s, for %s; or write the secret to Vault", rest, why)
}

// apiVersion is what every path of Vault's API begins with. The transport writes it.
const apiVersion = "v1/"

// explainVersion puts in place of a remedy, where Vault knows no such path or denies it, that the path begins with the
// version of Vault's API. An engine may be mounted there, so that nothing is refused before Vault was asked.
func explainVersion(field, path string, err error) error {
	f, isFault := errors.AsType[*fault.Fault](err)
	rest, versioned := strings.CutPrefix(strings.Trim(path, "/"), apiVersion)
	if !isFault || !versioned {
		return err
	}
	switch f.Reason {
	case v1alpha1.ReasonPermissionDenied, v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonInvalidRequest:
		return f.WithRemedy("write %s without v1/, which Sallyport puts before every path: %s", field, rest)
	}
	return err
}

// explainGeneric says what may be wrong with a path of Vault's API that Vault does not know.
func explainGeneric(r transport.Request, response *transport.Response, err error) error {
	if response.Is(http.StatusNotFound) {
		err = fault.From(err).WithRemedy("%s", remedyGeneric(r, response))
	}
	return explainVersion("path", r.Path, err)
}

func remedyGeneric(r transport.Request, response *transport.Response) string {
	engine, name, versioned := strings.Cut(r.Path, "/"+dataPrefix)
	switch {
	case len(response.Warnings) > 0: // of version 1's way of asking a version 2 engine, and of nothing else here
		return "an engine of KV version 2 has its secrets below data/, and lists them below metadata/: put that behind the " +
			"engine's path, or use operation Read or List with enginePath and secretPath"
	case noEngine(response):
		return "no engine of Vault answers there: correct path, which begins with where an engine is mounted"
	case versioned:
		return fmt.Sprintf("correct path, or write there first; only KV version 2 has data/ in its paths: without it %s/%s",
			engine, name)
	}
	return "correct path, or write there first"
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
