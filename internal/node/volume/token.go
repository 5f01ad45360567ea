package volume

import (
	"encoding/json"
	"fmt"
	"time"
)

// PodToken is the service account token of a mounting pod. It lives in memory only and prints as nothing.
type PodToken struct {
	Value   string
	Expires time.Time
	// Workload are the pod's tokens for other audiences, by audience: those that it logs in to Vault with.
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
