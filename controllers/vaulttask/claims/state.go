package claims

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// State is what is known of one claim. Its first three fields never change, so that they are read without the lock. It
// is safe for concurrent use. IsLocal, Called, Unwrapped and Finish take nil for no claim.
type State[Outcome any] struct {
	task types.NamespacedName
	key  *[32]byte
	// local: this process made the claim, so that it knows all calls under it.
	local bool

	mu sync.Mutex
	// called: a call may have reached Vault.
	called bool
	// digests of what was sent, with the store's key.
	digests [][sha256.Size]byte
	// unwrapped is what a wrapping token held. The token is used up, so that this is the only copy until it is written.
	unwrapped map[string]any
	// done is what came of it.
	done *Outcome
}

// IsLocal tells whether this process made the claim, and so knows of every call under it.
func (s *State[Outcome]) IsLocal() bool { return s != nil && s.local }

// Called tells whether a call under the claim may have reached Vault.
func (s *State[Outcome]) Called() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.called
}

// Calling notes that a call with this data is about to leave.
func (s *State[Outcome]) Calling(data map[string]any) {
	digest := s.digest(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.called = true
	s.digests = append(s.digests, digest)
}

// NotCalled notes that, as it turned out, no call reached Vault.
func (s *State[Outcome]) NotCalled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.called = false
}

// Sent tells whether a call with this data was about to leave.
func (s *State[Outcome]) Sent(data map[string]any) bool {
	digest := s.digest(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.digests, digest)
}

// Unwrapped returns what this process unwrapped for the claim, nil if nothing. The caller does not change it.
func (s *State[Outcome]) Unwrapped() map[string]any {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unwrapped
}

// KeepUnwrapped keeps what a wrapping token held until the claim is dropped.
func (s *State[Outcome]) KeepUnwrapped(content map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unwrapped = content
}

// Finish keeps an outcome until the claim is dropped, for storing it may fail.
func (s *State[Outcome]) Finish(done *Outcome) {
	if s == nil { // what only looks has no claim, and is done again
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = done
}

func (s *State[Outcome]) outcome() *Outcome {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// digest of data as JSON, with a key that dies with the process: it tells whether two are the same, and nothing else.
func (s *State[Outcome]) digest(data map[string]any) [sha256.Size]byte {
	encoded, _ := json.Marshal(normalized(data)) // it was made from JSON
	mac := hmac.New(sha256.New, s.key[:])
	mac.Write(encoded)
	return [sha256.Size]byte(mac.Sum(nil))
}

// Format prints nothing of what was unwrapped or handed out, for every verb.
func (s *State[Outcome]) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, "claims.State [values redacted]")
}

// SameData compares two secrets as JSON, the form in which Vault keeps them.
func SameData(a, b map[string]any) bool { return reflect.DeepEqual(normalized(a), normalized(b)) }

func normalized(data map[string]any) any {
	encoded, err := json.Marshal(data)
	if err != nil {
		return nil
	}
	var decoded any
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		return nil
	}
	return decoded
}
