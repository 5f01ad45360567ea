package secrets

import (
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Location names a secret of a KV engine, or what another engine answers to a read.
type Location struct {
	// Below is the way from the session's namespace of Vault to that of the engine; empty: that itself.
	Below string
	// EnginePath is where the engine is mounted, for example secret. Slashes around it do not matter.
	EnginePath string
	// SecretPath inside the engine. For KV version 2, data/oracle (as Vault's API has it) and oracle (as its command
	// line has it) mean the same.
	SecretPath string
	// KVVersion of the engine; empty: ask Vault.
	KVVersion v1alpha1.KVVersion
	// Version of the secret, KV version 2 only; zero: the latest.
	Version int64
	// KVOnly refuses an engine of another type, whatever it would answer.
	KVOnly bool
	// Write asks the engine by a write with Parameters, for Issue only. No KV engine is written to.
	Write bool
	// Parameters of the write; no secrets.
	Parameters map[string]any
}

// SystemPath returns the part of a path that may lead to Vault's own API (sys, auth, identity, cubbyhole) and not to a
// secrets engine, or nothing: with GET auth/token/lookup-self whoever may write a Connection would read the
// VaultConfig's own token. A namespace may stand before it, so every part is looked at.
func SystemPath(path string) string {
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "auth", "sys", "identity", "cubbyhole":
			return segment
		}
	}
	return ""
}
