package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"sync"
)

// tokenDigest stands for a token where it is remembered.
type tokenDigest [sha256.Size]byte

// tokenHash makes digests that are keyed with a key of the process: they are of no use to anybody else. Its states are
// used again, for every refresh takes several.
type tokenHash struct{ states sync.Pool }

type hashState struct {
	mac  hash.Hash
	text []byte
}

func newTokenHash() *tokenHash {
	var key [sha256.Size]byte
	_, _ = rand.Read(key[:]) // it ends the process rather than fail
	return &tokenHash{states: sync.Pool{New: func() any { return &hashState{mac: hmac.New(sha256.New, key[:])} }}}
}

// of returns the digest of texts, of which none but the last holds a zero byte.
func (h *tokenHash) of(texts ...string) (digest tokenDigest) {
	state, _ := h.states.Get().(*hashState)
	defer h.states.Put(state)
	state.text = state.text[:0]
	for i, text := range texts {
		if i > 0 {
			state.text = append(state.text, 0)
		}
		state.text = append(state.text, text...)
	}
	defer clear(state.text) // there is a token in it
	state.mac.Reset()
	_, _ = state.mac.Write(state.text) // a hash takes every write
	state.mac.Sum(digest[:0])
	return digest
}
