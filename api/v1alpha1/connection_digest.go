package v1alpha1

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
)

// ContentDigest changes with what a Connection says of its files, as its author wrote it: no reference in it is
// resolved. How often and for whom the files are made is no part of it. A generation would not do: it also counts
// writes that change nothing of this.
func (s *ConnectionSpec) ContentDigest() string {
	content := *s
	content.RefreshInterval, content.AllowedServiceAccounts = nil, nil
	// Keys of objects are encoded in their order, also inside of raw JSON as the API server writes it.
	encoded, _ := json.Marshal(content)
	sum := sha256.Sum256(encoded)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
