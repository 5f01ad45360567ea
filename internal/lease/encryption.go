package lease

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// The encrypted state of a volume's leases is, in this order:
//
//	1 byte    version, formatVersion
//	2 bytes   number of the lease key
//	2 bytes   length of the volume's key, and that: pod UID and volume ID, which whoever has the state knows anyway
//	12 bytes  nonce
//	          AES-256-GCM of the leases, and its tag, with a key derived from the lease key for this volume alone
//
// All before the nonce is authenticated. The first versions wrote nonce and ciphertext only, encrypted with the lease
// key itself: such a state begins with any byte, and is opened as well.
const (
	formatVersion = 2
	headerBytes   = 5
)

// additionalData is authenticated with a state of the first versions, derivation begins the info of volumes' keys.
const (
	additionalData = "sallyport.dev/lease/v1"
	derivation     = "sallyport.dev/lease/v2 "
)

// errUndecryptable: it was encrypted with a key that is gone, for another volume, or was never encrypted at all.
var errUndecryptable = errors.New("not encrypted with a key that there is")

// encryption is the AES-256-GCM of the leases that nodes keep, with keys that all replicas share.
type encryption struct{ keys *leaseKeys }

// encrypt returns the leases as only replicas can read them.
func (e *encryption) encrypt(ctx context.Context, v *VolumeLeases) ([]byte, error) {
	keys, err := e.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(v)
	if err != nil || len(v.Volume.key()) > 1<<16-1 {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the leases cannot be encoded")
	}
	newest := keys.newest()
	header := binary.BigEndian.AppendUint16([]byte{formatVersion}, newest)
	header = binary.BigEndian.AppendUint16(header, uint16(len(v.Volume.key()))) //nolint:gosec // it fits, see above
	header = append(header, v.Volume.key()...)
	aead, err := keys.forVolume(newest, v.Volume.key())
	if err != nil {
		return nil, err
	}
	return append(header, aead.Seal(nil, nil, plain, header)...), nil //nolint:gosec // the AEAD draws the nonce itself
}

// decrypt returns the leases; errUndecryptable if no key that there is fits. A key that is not known yet is looked for.
func (e *encryption) decrypt(ctx context.Context, encrypted []byte) (*VolumeLeases, error) {
	keys, err := e.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	plain, err := keys.open(encrypted)
	if errors.Is(err, errUndecryptable) {
		if keys, err = e.keys.readAgain(ctx); err != nil {
			return nil, err
		}
		plain, err = keys.open(encrypted)
	}
	if err != nil {
		return nil, err
	}
	v := &VolumeLeases{}
	if json.Unmarshal(plain, v) != nil { // a newer version's
		return nil, errUndecryptable
	}
	return v, nil
}

// keySet are the lease keys by number. It is never changed, only replaced.
type keySet map[uint16][]byte

// Format prints no key, for every verb.
func (k keySet) Format(state fmt.State, _ rune) { _, _ = fmt.Fprintf(state, "%d lease keys", len(k)) }

// newest is the number of the key to encrypt with.
func (k keySet) newest() (number uint16) {
	for n := range k {
		number = max(number, n)
	}
	return number
}

// forVolume derives the key of a volume, so that a state opens for no other volume.
func (k keySet) forVolume(number uint16, volume string) (cipher.AEAD, error) {
	return k.derive(number, derivation+volume)
}

// derive derives the key that info names from the lease key of this number (HKDF, RFC 5869).
func (k keySet) derive(number uint16, info string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, k[number], nil, info, keyBytes)
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "no key can be derived from the lease key")
	}
	return newAEAD(key)
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the lease key cannot be used")
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the lease key cannot be used")
	}
	return aead, nil
}

// open returns what was encrypted.
func (k keySet) open(encrypted []byte) ([]byte, error) {
	plain, err := k.openCurrent(encrypted)
	if !errors.Is(err, errUndecryptable) {
		return plain, err
	}
	for _, key := range k {
		aead, err := newAEAD(key)
		if err != nil {
			return nil, err
		}
		if plain, err := aead.Open(nil, nil, encrypted, []byte(additionalData)); err == nil {
			return plain, nil
		}
	}
	return nil, errUndecryptable
}

// openCurrent is open for a state of formatVersion.
func (k keySet) openCurrent(encrypted []byte) ([]byte, error) {
	if len(encrypted) < headerBytes || encrypted[0] != formatVersion {
		return nil, errUndecryptable
	}
	number, length := binary.BigEndian.Uint16(encrypted[1:]), int(binary.BigEndian.Uint16(encrypted[3:]))
	if k[number] == nil || len(encrypted) < headerBytes+length {
		return nil, errUndecryptable
	}
	header, sealed := encrypted[:headerBytes+length], encrypted[headerBytes+length:]
	aead, err := k.forVolume(number, string(header[headerBytes:]))
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed, header)
	if err != nil {
		return nil, errUndecryptable
	}
	return plain, nil
}
