package vaulttask

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// memory is what this process knows of runs that have not ended, and status does not hold. Losing it costs certainty only: what was
// then done is found out from Vault, or ends as OutcomeUnknown.
type memory struct {
	key [32]byte

	mu     sync.Mutex
	claims map[string]*knowledge
	// inline are the tasks that have a session of their own.
	inline map[types.NamespacedName]types.UID
}

// knowledge is about one claim.
type knowledge struct {
	task types.NamespacedName

	mu sync.Mutex
	// made: this process made the claim, so that it knows all calls under it.
	made bool
	// called: a call may have reached Vault.
	called bool
	// digests of what was sent, with a key of this process.
	digests [][sha256.Size]byte
	// unwrapped is what a wrapping token held. The token is used up, so that this is the only copy until it is written.
	unwrapped map[string]any
	// done is what came of it.
	done *outcome
}

func newMemory() *memory {
	m := &memory{claims: map[string]*knowledge{}, inline: map[types.NamespacedName]types.UID{}}
	_, _ = rand.Read(m.key[:]) // never fails
	return m
}

// of returns what is known about a claim; an empty knowledge if it is another process's, nil if there is none.
func (m *memory) of(claim *v1alpha1.TaskClaim) *knowledge {
	if claim == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.claims[claim.ID]; known != nil {
		return known
	}
	return &knowledge{called: true}
}

// note remembers what is known under a new claim.
func (m *memory) note(claim *v1alpha1.TaskClaim, known *knowledge) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claims[claim.ID] = known
}

// drop forgets a claim.
func (m *memory) drop(claim *v1alpha1.TaskClaim) {
	if claim == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.claims, claim.ID)
}

// keep remembers an outcome until it is stored.
func (m *memory) keep(claim *v1alpha1.TaskClaim, out *outcome) {
	if claim != nil {
		known := m.of(claim)
		known.mu.Lock()
		defer known.mu.Unlock()
		known.done = out
	}
}

// outcome returns what came of a task's claim, if that is known here and not what the status says.
func (m *memory) outcome(task *v1alpha1.VaultTask) *outcome {
	if task.Status.Claim == nil || task.Status.CompletionTime != nil && task.Status.Result != nil {
		return nil
	}
	m.mu.Lock()
	known := m.claims[task.Status.Claim.ID]
	m.mu.Unlock()
	if known == nil {
		return nil
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	return known.done
}

// enter notes that a task has a session of its own.
func (m *memory) enter(task *v1alpha1.VaultTask) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inline[client.ObjectKeyFromObject(task)] = task.UID
}

// leave forgets all about a task, and says whose session of its own it had.
func (m *memory) leave(name types.NamespacedName) (types.UID, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.claims, func(_ string, known *knowledge) bool { return known.task == name })
	uid, known := m.inline[name]
	delete(m.inline, name)
	return uid, known
}

// digest of data as JSON, with a key that dies with the process: it tells whether two are the same, and nothing else.
func (m *memory) digest(data map[string]any) [sha256.Size]byte {
	encoded, _ := json.Marshal(normal(data)) // normal made it from JSON
	mac := hmac.New(sha256.New, m.key[:])
	mac.Write(encoded)
	return [sha256.Size]byte(mac.Sum(nil))
}

// idle tells whether nothing was sent under the claim.
func (k *knowledge) idle() bool {
	if k == nil {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.called
}
