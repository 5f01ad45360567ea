package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"sallyport.dev/sallyport/test/canary"
)

// canaries are the secrets of this run.
var canaries = &registry{marker: rand.Text()}

// registry knows every secret that the specs use.
type registry struct {
	// marker begins every value of newSecret, in no matter which encoding. Searching for it alone finds them all, also
	// where only the beginning of one was written; and the search stays fast when there are many.
	marker string

	mu sync.Mutex
	// values may be nowhere but in Vault and in the pods' volumes.
	values []canary.Value
	// others are values without the marker, which must be searched for one by one.
	others []canary.Value
	// accessors of Vault tokens are told to the specs only.
	accessors []canary.Value
	// leases are the IDs of leases, which Vault's own log may name.
	leases []canary.Value
	// tokens of Vault lie in Secrets that the specs made, as users do, and so in etcd and in the audit log of these
	// Secrets.
	tokens []canary.Value
}

// newSecret returns a new secret value. It has characters that encoders escape, each in their own way.
func newSecret(name string) string {
	text := canaries.marker + "-" + rand.Text() + `&<"é'\%+`
	canaries.mu.Lock()
	defer canaries.mu.Unlock()
	canaries.values = append(canaries.values, canary.Value{Name: name, Text: text})
	return text
}

// newSecretOf returns a new secret value of at least so many bytes.
func newSecretOf(name string, bytes int) string {
	text := newSecret(name)
	return text + strings.Repeat("x", max(0, bytes-len(text)))
}

// newSecretNumber returns a number. Vault keeps numbers as float64, so it has no more digits than those can hold.
func newSecretNumber(name string) json.Number {
	digits := []byte("9")
	for _, b := range []byte(rand.Text())[:14] {
		digits = append(digits, '0'+b%10)
	}
	canaries.forbid(name, string(digits))
	return json.Number(digits)
}

// forbid adds a secret that somebody else made.
func (r *registry) forbid(name, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.others = append(r.others, canary.Value{Name: name, Text: text})
}

// forbidAccessor adds the accessor of a Vault token.
func (r *registry) forbidAccessor(name, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accessors = append(r.accessors, canary.Value{Name: name, Text: text})
}

// forbidLease adds the ID of a lease.
func (r *registry) forbidLease(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leases = append(r.leases, canary.Value{Name: "the ID of a lease", Text: text})
}

// allowInSecrets adds a token that is going to be put into a Secret.
func (r *registry) allowInSecrets(name, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens = append(r.tokens, canary.Value{Name: name, Text: text})
}

// everywhere are what to search for in every place: what the secrets have in common, and those that stand alone.
func (r *registry) everywhere() []canary.Value {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]canary.Value{{Name: "a value of newSecret", Text: r.marker}}, r.others...)
}

// unspoken are what nothing of Sallyport may say, in no status, event, log or metric: accessors, and the SHA-256 sums
// of all values, because whoever has one can try guesses on it.
func (r *registry) unspoken() []canary.Value {
	r.mu.Lock()
	defer r.mu.Unlock()
	unspoken := slices.Clone(r.accessors)
	for _, v := range slices.Concat(r.values, r.others, r.tokens) {
		sum := sha256.Sum256([]byte(v.Text))
		unspoken = append(unspoken, canary.Value{Name: "SHA-256 of " + v.Name, Text: string(sum[:])})
	}
	return unspoken
}

// named are all values, to tell which of them lies where the search for the marker found something.
func (r *registry) named() []canary.Value {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.values)
}
