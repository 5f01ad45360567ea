// Package claims is what this process knows of the claims under which VaultTasks act on Vault, and status does not
// hold: whether anything was sent under a claim, what it was (as keyed digests), what a wrapping token held, and the
// outcome until it is stored. It is memory only; losing it costs certainty: what was then done is found out from Vault,
// or ends as OutcomeUnknown.
//
// It must not talk to Vault or to the Kubernetes API, and lets nobody see its fields: every access takes the lock that
// belongs to it.
package claims

import (
	"crypto/rand"
	"maps"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Store holds the states of claims by their IDs. It is safe for concurrent use.
type Store[Outcome any] struct {
	key [32]byte

	mu     sync.Mutex
	states map[string]*State[Outcome]
}

// NewStore returns an empty store.
func NewStore[Outcome any]() *Store[Outcome] {
	s := &Store[Outcome]{states: map[string]*State[Outcome]{}}
	_, _ = rand.Read(s.key[:]) // never fails
	return s
}

// New returns the state of a claim that this process is about to make for a task. Put keeps it.
func (s *Store[Outcome]) New(task types.NamespacedName) *State[Outcome] {
	return &State[Outcome]{task: task, key: &s.key, local: true}
}

// Get returns the state of a task's claim, nil if there is no claim. A claim of another process is unknown here: a call
// under it may have reached Vault.
func (s *Store[Outcome]) Get(task types.NamespacedName, claim *v1alpha1.TaskClaim) *State[Outcome] {
	if claim == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if state := s.states[claim.ID]; state != nil {
		return state
	}
	return &State[Outcome]{task: task, key: &s.key, called: true}
}

// Put keeps the state of a new claim. One state may be kept for several claims of a run that follow each other.
func (s *Store[Outcome]) Put(claim *v1alpha1.TaskClaim, state *State[Outcome]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[claim.ID] = state
}

// Drop forgets a claim, if there is one.
func (s *Store[Outcome]) Drop(claim *v1alpha1.TaskClaim) {
	if claim == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.states, claim.ID)
}

// Forget drops every claim of a task.
func (s *Store[Outcome]) Forget(task types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.states, func(_ string, state *State[Outcome]) bool { return state.task == task })
}

// Outcome returns what came of a claim, nil if that is not known here.
func (s *Store[Outcome]) Outcome(claim *v1alpha1.TaskClaim) *Outcome {
	if claim == nil {
		return nil
	}
	s.mu.Lock()
	state := s.states[claim.ID]
	s.mu.Unlock()
	return state.outcome()
}
