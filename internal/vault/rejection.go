package vault

import (
	"errors"
	"time"
)

const (
	// A login that Vault refused is tried again after these pauses where that can lock nobody out: somebody may create the missing role.
	minRejectionPause = 30 * time.Second
	maxRejectionPause = 5 * time.Minute
	// An attempt to keep a token alive that failed is repeated after these.
	minExtensionPause = 2 * time.Second
	maxExtensionPause = time.Minute
)

// rejection remembers a credential that Vault does not accept, so that it is not offered again and again.
type rejection struct {
	fingerprint [32]byte
	err         error
	// until the credential may be offered again; zero: never, for it could lock its owner out.
	until time.Time
	pause time.Duration
}

// reject remembers that Vault does not accept a credential, and returns why.
func (s *Session) reject(c credential, err error) error {
	err = settled(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	next := &rejection{fingerprint: c.fingerprint, err: err}
	if refused, ok := errors.AsType[*refusedLogin](err); ok && refused.harmless {
		next.pause = minRejectionPause
		if former := s.rejected; former != nil && former.fingerprint == c.fingerprint && former.pause > 0 {
			next.pause = min(2*former.pause, maxRejectionPause)
		}
		next.until = s.sessions.clock.Now().Add(next.pause)
	}
	s.rejected = next
	return err
}

// rejection returns why Vault did not accept this credential earlier, nil if it may be offered.
func (s *Session) rejection(c credential) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rejected
	if r == nil || r.fingerprint != c.fingerprint {
		return nil
	}
	if !r.until.IsZero() && !s.sessions.clock.Now().Before(r.until) {
		return nil
	}
	return r.err
}

// setback is a failed attempt to keep a token alive that still lives.
type setback struct {
	err   error
	until time.Time
	pause time.Duration
}

// setBack remembers that the token could not be kept alive this time.
func (s *Session) setBack(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := &setback{err: settled(err), pause: minExtensionPause}
	if s.extension != nil {
		next.pause = min(2*s.extension.pause, maxExtensionPause)
	}
	next.until = s.sessions.clock.Now().Add(next.pause)
	s.extension = next
}
