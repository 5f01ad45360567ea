package session

import "k8s.io/utils/clock"

// Slot is a place in each session where a package above keeps what it knows of that Vault. The session does not look
// into it, and what is in it ends with the session.
type Slot[T any] struct {
	// New makes what a session's slot holds. The clock is that of the session.
	New func(clock.PassiveClock) *T
}

// Of returns what the session's slot holds.
func (k *Slot[T]) Of(s *Session) *T {
	held, found := s.slots.Load(k)
	if !found {
		held, _ = s.slots.LoadOrStore(k, k.New(s.holder.environment.clock))
	}
	value, _ := held.(*T)
	return value
}
