package volume

import (
	"encoding/base64"
	"fmt"
)

// EncryptedLeases are the leases of one volume, encrypted by the resolver with a key that nodes do not have. They print
// as nothing.
type EncryptedLeases []byte

// String implements fmt.Stringer.
func (l EncryptedLeases) String() string { return "[leases]" }

// GoString implements fmt.GoStringer.
func (l EncryptedLeases) GoString() string { return l.String() }

// MarshalLog implements logr.Marshaler.
func (l EncryptedLeases) MarshalLog() any { return l.String() }

// Format makes every verb of package fmt print what String does.
func (l EncryptedLeases) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(l.String())) }

// Size is the memory that leases take as text in JSON.
func (l EncryptedLeases) Size() int64 {
	return InPages(int64(base64.StdEncoding.EncodedLen(len(l))))
}
