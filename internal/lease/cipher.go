package lease

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/flight"
)

// What a Cipher encrypts is, in this order:
//
//	1 byte    version, cipherVersion
//	2 bytes   number of the lease key
//	12 bytes  nonce
//	          AES-256-GCM of the content, and its tag, with a key derived from the lease key for the purpose and subject
//
// All before the nonce is authenticated, and so is what the content is bound to.
const (
	cipherVersion     = 1
	cipherHeaderBytes = 3
	// keysTimeout bounds how long the first reading of the keys holds up those who need a Cipher: they can do without.
	keysTimeout = 2 * time.Second
	// keysPause is how long no Cipher asks for keys again that could not be read.
	keysPause = 10 * time.Second
)

// Cipher encrypts, for one purpose, what every replica reads and nobody else does, with keys that are derived from the
// lease keys. Taking a lease key away ends what was encrypted with it, within a minute.
type Cipher struct {
	keys    *leaseKeys
	purpose string
	reads   flight.Group[keySet]

	mu sync.Mutex
	// pausedUntil is when keys are asked for again after they could not be read.
	pausedUntil time.Time
}

// Cipher returns the Cipher of a purpose, whose name must stay what it is.
func (m *Manager) Cipher(purpose string) *Cipher {
	return &Cipher{keys: m.encryption.keys, purpose: "sallyport.dev/" + purpose + " "}
}

// Encrypt returns plain as only Decrypt reads it, with the same subject and bound. Errors are faults.
func (c *Cipher) Encrypt(ctx context.Context, subject string, plain, bound []byte) ([]byte, error) {
	keys, err := c.known(ctx)
	if err != nil {
		return nil, err
	}
	number := keys.newest()
	aead, err := keys.derive(number, c.purpose+subject)
	if err != nil {
		return nil, err
	}
	header := binary.BigEndian.AppendUint16([]byte{cipherVersion}, number)
	sealed := aead.Seal(nil, nil, plain, authenticated(header, bound)) //nolint:gosec // the AEAD draws the nonce itself
	return append(header, sealed...), nil
}

// Decrypt returns what Encrypt was given; false: it was encrypted with a key that this replica does not have, for
// another purpose or subject, bound to something else, by a newer version, or never.
func (c *Cipher) Decrypt(ctx context.Context, subject string, encrypted, bound []byte) (plain []byte, ok bool) {
	if len(encrypted) < cipherHeaderBytes || encrypted[0] != cipherVersion {
		return nil, false
	}
	keys, err := c.known(ctx)
	number := binary.BigEndian.Uint16(encrypted[1:])
	if err != nil || keys[number] == nil {
		return nil, false // the Secret is not read again for it: whoever can do without must not cost a request
	}
	aead, err := keys.derive(number, c.purpose+subject)
	if err != nil {
		return nil, false
	}
	plain, err = aead.Open(nil, nil, encrypted[cipherHeaderBytes:], authenticated(encrypted[:cipherHeaderBytes], bound))
	return plain, err == nil
}

// known returns the keys, which are asked for once in keysPause, by all callers together, if they cannot be read.
func (c *Cipher) known(ctx context.Context) (keySet, error) {
	if keys := c.keys.keys.Load(); keys != nil {
		return *keys, nil
	}
	c.mu.Lock()
	paused := c.keys.clock.Now().Before(c.pausedUntil)
	c.mu.Unlock()
	if paused {
		return nil, keysUnread()
	}
	wait, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	keys, landed, err := c.reads.Join(wait, KeySecretName, keysTimeout, c.keys.get)
	if err == nil {
		return keys, nil
	}
	if ctx.Err() == nil { // else it is the caller that did not wait
		c.mu.Lock()
		c.pausedUntil = c.keys.clock.Now().Add(keysPause)
		c.mu.Unlock()
	}
	if !landed {
		err = keysUnread()
	}
	return nil, err
}

func keysUnread() error {
	return fault.Transient(v1alpha1.ReasonInternal, "the Secret %s could not be read a moment ago", KeySecretName)
}

// authenticated is the additional data of what was encrypted. The header has one length, so that nothing is ambiguous.
func authenticated(header, bound []byte) []byte {
	return append(append([]byte(nil), header...), bound...)
}
