package secrets

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Secret is what was read from a KV engine. It redacts itself: however it is printed, encoded or logged, only path and
// version show. Data itself, taken out of it, is the caller's to guard.
type Secret struct {
	// Data holds the keys and values as JSON has them; numbers are json.Number.
	Data map[string]any
	// Version of the secret; zero for KV version 1.
	Version int64
	// CreatedTime is when the version was written, or the credential of a static role was last rotated, by Vault's clock;
	// zero where Vault does not say.
	CreatedTime time.Time
	// ChangesIn is how long after the read Vault will make it another one, as it does with static roles; zero if it does
	// not say.
	ChangesIn time.Duration
	// Fleeting are the keys whose values differ at each read although nothing changed.
	Fleeting []string
	// Path as Vault's API has it, engine included: secret/data/oracle.
	Path string
	// RequestID is Vault's ID of the request, to be found in its audit log.
	RequestID string
	// Leased tells whether a lease came with it, which ends with the token that it was made with; of the Generic
	// operations only, for others refuse one.
	Leased bool
}

// String returns path and version.
func (s Secret) String() string {
	return fmt.Sprintf("%s version %d [values redacted]", s.Path, s.Version)
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// Format prints String for every verb: without it %x and the like would reach the values.
func (s Secret) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, s.String()) }

// MarshalLog is String, for logr.
func (s Secret) MarshalLog() any { return s.String() }

// MarshalJSON is String, for whatever encodes it without thinking.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }
