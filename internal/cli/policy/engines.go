package policy

import (
	"context"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// Ask asks Vault what lies at an engine's path, in the namespace of a VaultConfig or below it; nothing if Vault does
// not tell.
type Ask func(ctx context.Context, config *v1alpha1.VaultConfig, engine secrets.Location) (v1alpha1.KVVersion, error)

// engines tells what lies at a path: what the object states, what Vault says, what the controller saw there, as status
// tells, and what the spelling says, in this order.
type engines struct {
	ask Ask
	// seen are the paths that the controller used, by VaultConfig.
	seen map[string]map[string]bool
}

// notKV stands for an engine whose paths are used as they are.
const notKV v1alpha1.KVVersion = "none"

// versionOf returns the version of the KV engine that a location is in; notKV for any other engine.
func (e *engines) versionOf(
	ctx context.Context, d *draft, config *v1alpha1.VaultConfig, at secrets.Location,
) (v1alpha1.KVVersion, error) {
	if at.Write {
		return notKV, nil
	}
	if at.KVVersion != "" {
		return at.KVVersion, nil
	}
	if e.ask != nil {
		version, err := e.ask(ctx, config, secrets.Location{Below: at.Below, EnginePath: at.EnginePath})
		if err != nil || version != "" {
			return version, err
		}
	}
	engine := transport.PathBelow(at.Below, strings.Trim(at.EnginePath, "/"))
	path := strings.Trim(at.SecretPath, "/")
	seen := e.seen[d.For]
	inside, spelled := strings.CutPrefix(path, "data/")
	switch {
	case seen[engine+"/data/"+inside], seen[engine+"/metadata/"+inside]:
		return v1alpha1.KVVersion2, nil
	case seen[engine+"/"+path] && !spelled:
		return v1alpha1.KVVersion1, nil // or another engine: what is read is the same
	case dynamic(path):
		return notKV, nil
	case !spelled:
		d.note("the engine at " + quote(engine) + " is taken for KV version 2, for nothing says otherwise; set kvVersion, or ask with --ask-vault")
	}
	return v1alpha1.KVVersion2, nil
}

// dynamic tells whether what is read at a path is made for whoever reads it, by the convention of Vault's engines.
func dynamic(path string) bool {
	first, _, deeper := strings.Cut(path, "/")
	return deeper && (first == "creds" || first == "sts")
}

// Parts of paths by which a write of Vault's engines can be told from a creation. Where an engine looks whether there
// is something already, Vault wants "create" if there is not and "update" if there is; everywhere else "update".
// Source: ExistenceCheck in the engines of Vault 1.21.
var (
	kept = []string{"config", "roles", "role", "static-roles", "encrypt"}
	done = []string{
		"issue", "sign", "sign-verbatim", "sign-intermediate", "sign-self-issued", "generate", "revoke", "tidy",
		"rotate", "rotate-root", "rotate-role", "reset",
		"datakey", "decrypt", "rewrap", "verify", "hmac", "hash", "random",
	}
)

// writes are the capabilities for a write that a Connection makes, at a path inside an engine that is not KV.
func writes(path string) []string {
	if first, _, _ := strings.Cut(path, "/"); slices.Contains(kept, first) {
		return []string{create, update}
	}
	return []string{update}
}

// writesAnywhere are the capabilities for a write at a path whose engine nobody knows.
func writesAnywhere(path string) []string {
	parts := strings.Split(path, "/")
	if parts[0] == "sys" || slices.ContainsFunc(parts, func(part string) bool { return slices.Contains(done, part) }) {
		return []string{update}
	}
	return []string{create, update}
}
