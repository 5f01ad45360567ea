package projection

import (
	"encoding/json"
	"fmt"
)

// File is one file of a volume. However it is printed or logged, only the path appears. Package fmt circumvents that in
// two cases: for a File in an unexported field of another type, so such a type redacts itself too; and with the verb
// %p, which go vet finds.
type File struct {
	// Path of the file in the volume.
	Path string
	// Content is secret.
	Content []byte
	// Mode is the permission bits; 0 leaves them to the node.
	Mode uint32
	// Kept files stay as the volume has them, and have no Content.
	Kept bool
}

// String names the file.
func (f File) String() string { return fmt.Sprintf("File{path: %q}", f.Path) }

// GoString makes %#v print what String does.
func (f File) GoString() string { return f.String() }

// Format makes every verb print what String does.
func (f File) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(f.String())) }

// MarshalLog makes structured loggers print what String does.
func (f File) MarshalLog() any { return f.String() }

// MarshalJSON leaves the content out, for loggers that encode their arguments as JSON.
func (f File) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Path string `json:"path"`
	}{f.Path})
}
