package vault

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// dataPrefix is what KV version 2 puts between engine and path when a secret itself is meant.
const dataPrefix = "data/"

// cleanPath trims the slashes around a path and refuses what would name another one than it seems to: dots are resolved by
// HTTP clients and proxies on the way, and Vault's policies are about the path that arrives. Escaping is done where the URL is made.
func cleanPath(field, raw string) (string, error) {
	invalid := func(problem string) (string, error) {
		return "", fault.Terminal(v1alpha1.ReasonInvalidSpec, "%s %q: %s", field, raw, problem)
	}
	path := strings.Trim(raw, "/")
	switch {
	case path == "":
		return invalid("names nothing; give a path such as team/oracle")
	case !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }):
		return invalid("holds a character that cannot be printed; leave it out")
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "":
			return invalid("holds an empty part; write one slash, not two")
		case ".", "..":
			return invalid(`holds "` + segment + `"; write the path itself`)
		}
	}
	return path, nil
}

// place is a Location that was checked, with the version of its engine.
type place struct {
	engine string
	// path inside the engine, without data/.
	path    string
	version v1alpha1.KVVersion
	// guessed: Vault would not tell the engine's version.
	guessed bool
}

func newPlace(engine, path string, version v1alpha1.KVVersion) place {
	if version == v1alpha1.KVVersion2 {
		path = strings.TrimPrefix(path, dataPrefix)
	}
	return place{engine: engine, path: path, version: version}
}

// apiPath is the secret's path as Vault's API has it.
func (p place) apiPath() string {
	if p.version == v1alpha1.KVVersion2 {
		return p.engine + "/data/" + p.path
	}
	return p.engine + "/" + p.path
}

// metadataPath is where KV version 2 keeps what it knows of all versions.
func (p place) metadataPath() string { return p.engine + "/metadata/" + p.path }

// folderPath is where a KV engine lists a folder; without a path, its top.
func (p place) folderPath() string {
	folder := p.engine
	if p.version == v1alpha1.KVVersion2 {
		folder += "/metadata"
	}
	if p.path != "" {
		folder += "/" + p.path
	}
	return folder
}
