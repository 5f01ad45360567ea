package resolver

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sallyport.dev/sallyport/internal/vault/secrets"
)

// contentVersion names the content of a secret: its version in Vault, a sequence number of this replica for engines
// without versions, or the name of a dynamic secret. It holds nothing that was derived from a value.
type contentVersion string

// numberedVersion is that of a secret with versions. The time is there for secrets that are deleted with all their
// versions and created anew: their versions begin at 1 again.
func numberedVersion(secret *secrets.Secret) contentVersion {
	return contentVersion(fmt.Sprintf("%d.%d", secret.Version, secret.CreatedTime.UnixNano()))
}

// sequencedVersion is that of a secret without versions, as a replica counts the changes of the fields that are wanted.
func sequencedVersion(replica string, sequences []int) contentVersion {
	return contentVersion(replica + fmt.Sprint(sequences))
}

// issuedVersion is that of a dynamic secret.
func issuedVersion(name string) contentVersion { return contentVersion("held." + name) }

// absentVersion is that of a secret that is not there, where that is no failure.
const absentVersion contentVersion = "absent"

// number returns Vault's version; 0 for a secret without versions.
func (v contentVersion) number() int64 {
	digits, _, _ := strings.Cut(string(v), ".")
	version, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0 // it begins with a word
	}
	return version
}

// readResult is one read of a secret, shared by all who asked while it was under way.
type readResult struct {
	secret *secrets.Secret
	// absence says that there is no such secret.
	absence error
	started time.Time
	// credential of the session's login before, by its fingerprint.
	credential [sha256.Size]byte
}
