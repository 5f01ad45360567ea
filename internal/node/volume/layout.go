package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// What lies in the directory of a volume, on the volume's own tmpfs: it vanishes together with the files that it speaks
// of.
const (
	// FilesDir is the part that the pod sees.
	FilesDir = "files"
	// stagingDir is where the mount for the pod is made read-only if the kernel cannot do that elsewhere. It is there in
	// any case, for the version that comes to look after the volume next.
	stagingDir = "staging"
	// StateFile holds the State.
	StateFile = "state.json"
	// TokenFile holds the pod's token for the resolver.
	TokenFile = "token.json"
	// newSuffix is of the next one of such a file, which is renamed when it is complete.
	newSuffix = ".new"
)

// The layout of FilesDir is the one in which the kubelet projects Secrets, so that programs which watch one for changes
// understand it:
//
//	password -> ..data/password
//	..data -> ..2026_01_02_15_04_05.1234567890
//	..2026_01_02_15_04_05.1234567890/password
const (
	// DataLink leads to the directory that holds the current files.
	DataLink    = InternalPrefix + "data"
	newDataLink = InternalPrefix + "data_new"
	// InternalPrefix cannot begin the name of a file.
	InternalPrefix = ".."
)

const hashedPrefix = "sha256-"

var plainDirectory = regexp.MustCompile(`^[a-zA-Z0-9][-._a-zA-Z0-9]{0,127}$`)

// directoryName is the name of the volume's directory. The kubelet's volume IDs are used as they are; whatever could
// lead out of the directory, or is too long, is replaced by its hash.
func directoryName(volumeID string) string {
	if plainDirectory.MatchString(volumeID) && !strings.HasPrefix(volumeID, hashedPrefix) {
		return volumeID
	}
	sum := sha256.Sum256([]byte(volumeID))
	return hashedPrefix + hex.EncodeToString(sum[:])
}
