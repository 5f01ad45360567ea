package volume

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// PodToken is the service account token of a mounting pod. It prints as nothing.
type PodToken struct {
	Value   string
	Expires time.Time
	// Workload are the pod's tokens for other audiences, by audience: those that it logs in to Vault with. They live in
	// memory only.
	Workload map[string]string
}

// String implements fmt.Stringer.
func (t PodToken) String() string { return "[pod token]" }

// GoString implements fmt.GoStringer.
func (t PodToken) GoString() string { return t.String() }

// MarshalLog implements logr.Marshaler.
func (t PodToken) MarshalLog() any { return t.String() }

// MarshalJSON implements json.Marshaler.
func (t PodToken) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// Format makes every verb of package fmt print what String does.
func (t PodToken) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(t.String())) }

// Usable tells whether there is a token that has not expired.
func (t PodToken) Usable(now time.Time) bool {
	return t.Value != "" && (t.Expires.IsZero() || now.Before(t.Expires))
}

// storedToken is what TokenFile holds: the token for the resolver, so that a new process refreshes the volume at once.
// It is good for nothing but to ask a resolver, from this node, for what lies beside it in the clear, and dies with the
// pod. The pod's tokens for Vault are not kept.
type storedToken struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires,omitzero"`
}

// WriteToken replaces the token beside the volume in dir in one step.
func (s *Store) WriteToken(dir string, token PodToken) error {
	content, err := json.Marshal(storedToken{Token: token.Value, Expires: token.Expires})
	if err != nil {
		return err
	}
	return replaceFile(s.Filesystem, filepath.Join(dir, TokenFile), content)
}

// ReadToken returns the token beside the volume in dir; the zero PodToken if there is none to be read.
func ReadToken(dir string) PodToken {
	content, err := os.ReadFile(filepath.Join(dir, TokenFile))
	var stored storedToken
	if err != nil || json.Unmarshal(content, &stored) != nil {
		return PodToken{}
	}
	return PodToken{Value: stored.Token, Expires: stored.Expires}
}
