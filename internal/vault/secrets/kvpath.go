package secrets

import (
	"errors"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// notKV stands for the version of an engine that is no KV engine: its paths are read as they are.
const notKV v1alpha1.KVVersion = "none"

// dataPrefix is what KV version 2 puts between engine and path when a secret itself is meant.
const dataPrefix = "data/"

// kvPath is a Location that was checked, with the version of its engine.
type kvPath struct {
	engine string
	// path inside the engine, without data/.
	path    string
	version v1alpha1.KVVersion
	// guessed: Vault would not tell the engine's version.
	guessed bool
}

func newKVPath(engine, path string, version v1alpha1.KVVersion) kvPath {
	if version == v1alpha1.KVVersion2 {
		path = strings.TrimPrefix(path, dataPrefix)
	}
	return kvPath{engine: engine, path: path, version: version}
}

// apiPath is the secret's path as Vault's API has it.
func (p kvPath) apiPath() string {
	if p.version == v1alpha1.KVVersion2 {
		return p.engine + "/data/" + p.path
	}
	return p.engine + "/" + p.path
}

// metadataPath is where KV version 2 keeps what it knows of all versions.
func (p kvPath) metadataPath() string { return p.engine + "/metadata/" + p.path }

// folderPath is where a KV engine lists a folder; without a path, its top.
func (p kvPath) folderPath() string {
	folder := p.engine
	if p.version == v1alpha1.KVVersion2 {
		folder += "/metadata"
	}
	if p.path != "" {
		folder += "/" + p.path
	}
	return folder
}

// versionName is how a sentence calls an engine that is not KV version 2.
func versionName(version v1alpha1.KVVersion) string {
	if version == notKV {
		return "not KV"
	}
	return "KV version 1"
}

// explain adds to a fault that its path rests on a guess. That Vault tells nothing of the engine mostly means that none
// is mounted there, so this comes before the right that the request lacked.
func (p kvPath) explain(err error) error {
	f, isFault := errors.AsType[*fault.Fault](err)
	if !p.guessed || !isFault {
		return err
	}
	switch f.Reason {
	case v1alpha1.ReasonPermissionDenied, v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonInvalidRequest:
		return f.WithRemedy("Vault tells this token of no engine at %s: correct enginePath if there is none", p.engine).
			AddRemedy("%s", f.Remedy).
			AddRemedy("KV version %s was assumed: set kvVersion if that is wrong", strings.TrimPrefix(string(p.version), "V"))
	}
	return err
}
