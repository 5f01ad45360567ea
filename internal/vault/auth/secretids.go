package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/shares"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// secretIDMemory keeps the secret IDs that wrapping tokens gave: nobody can get them a second time. It is safe for
// concurrent use.
type secretIDMemory interface {
	// fingerprint is what tells these wrapping tokens from others.
	fingerprint(lines []string, usual [sha256.Size]byte) [sha256.Size]byte
	// known returns the secret ID that one of these wrapping tokens gave; nil if none did.
	known(c Credential) *transport.Token
	// keep a secret ID that one of these wrapping tokens gave.
	keep(c Credential, line string, secretID transport.Token)
	// refuse notes that Vault did not accept the secret ID that is known of these wrapping tokens.
	refuse(c Credential)
	// refused tells whether Vault did not accept one that these wrapping tokens gave.
	refused(c Credential) bool
}

// oneSecretID is the memory of a session that lives for as long as its object: while the line in use is among the
// others, they count as unchanged.
type oneSecretID struct {
	mu sync.Mutex
	// opened is the secret ID that one of the wrapping tokens gave. It is nowhere else.
	opened *unwrappedSecretID
}

// unwrappedSecretID is the secret ID that a wrapping token gave.
type unwrappedSecretID struct {
	secretID transport.Token
	// line is the digest of the wrapping token, fingerprint that of the Secret's content when it was used.
	line, fingerprint [sha256.Size]byte
}

func (m *oneSecretID) fingerprint(lines []string, usual [sha256.Size]byte) [sha256.Size]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.opened == nil {
		return usual
	}
	for _, line := range lines {
		if sha256.Sum256([]byte(line)) == m.opened.line {
			return m.opened.fingerprint
		}
	}
	return usual
}

func (m *oneSecretID) known(c Credential) *transport.Token {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.opened == nil || m.opened.fingerprint != c.Fingerprint {
		return nil
	}
	return &m.opened.secretID
}

func (m *oneSecretID) keep(c Credential, line string, secretID transport.Token) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened = &unwrappedSecretID{secretID: secretID, line: sha256.Sum256([]byte(line)), fingerprint: c.Fingerprint}
}

func (m *oneSecretID) refuse(Credential) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened = nil
}

// refused is false: the session remembers it itself, and what it said.
func (*oneSecretID) refused(Credential) bool { return false }

// SecretIDs are those that wrapping tokens in Connections of type VAULT gave. Sessions with such a Vault end with the
// tasks that use them, and the secret ID must outlive them. It stays in memory, where a key of the process and all
// that decides whose it is lead to it: the Connection itself, Vault and the way there, the mount, and the wrapping
// token. Who may write another Connection, or leads this one elsewhere, gets nothing of it. A namespace has a share;
// what was longest not used gives way. It is safe for concurrent use.
type SecretIDs struct {
	key   [sha256.Size]byte
	cache *shares.Cache[secretIDKey, *keptSecretID]
}

// secretIDKey is a digest with the key of the process.
type secretIDKey [sha256.Size]byte

// keptSecretID is the secret ID that a wrapping token gave. It is never changed, only replaced.
type keptSecretID struct {
	connection types.UID
	// place is the digest of all that leads to it but the wrapping token.
	place    secretIDKey
	secretID transport.Token
	// refusedFor is the role ID with which Vault did not accept it; the zero value: none.
	refusedFor transport.Token
}

// secretIDOverhead is what an entry takes beside its texts, in bytes.
const secretIDOverhead = 384

// NewSecretIDs returns a memory that holds nothing yet.
func NewSecretIDs() *SecretIDs {
	s := &SecretIDs{cache: shares.NewCache[secretIDKey, *keptSecretID](heap.SecretIDs, heap.SecretIDsShare)}
	_, _ = rand.Read(s.key[:]) // never fails
	return s
}

// Of returns the part of a Connection, as which it has a namespace and a UID, on one way to Vault.
func (s *SecretIDs) Of(namespace string, connection types.UID, way string) *ConnectionSecretIDs {
	return &ConnectionSecretIDs{all: s, namespace: namespace, connection: connection, way: way}
}

// Forget a Connection that is gone.
func (s *SecretIDs) Forget(connection types.UID) {
	s.cache.RemoveFunc(func(_ secretIDKey, kept *keptSecretID) bool { return kept.connection == connection })
}

// Format prints nothing of it, for every verb.
func (*SecretIDs) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "auth.SecretIDs") }

// ConnectionSecretIDs is the part of SecretIDs that is for one Connection on one way to Vault.
type ConnectionSecretIDs struct {
	all        *SecretIDs
	namespace  string
	connection types.UID
	way        string
}

// Format prints nothing of it, for every verb.
func (*ConnectionSecretIDs) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, "auth.ConnectionSecretIDs")
}

// roleSecretIDs is that part for the logins of one role ID at one mount.
type roleSecretIDs struct {
	*ConnectionSecretIDs
	// mount with its namespace of Vault.
	mount  string
	roleID transport.Token
}

func (m *roleSecretIDs) keyOf(line string) secretIDKey {
	mac := hmac.New(sha256.New, m.all.key[:])
	for _, part := range []string{m.namespace, string(m.connection), m.way, m.mount, line} { // none holds a zero byte
		_, _ = io.WriteString(mac, part+"\x00")
	}
	return secretIDKey(mac.Sum(nil))
}

// of returns what is kept of the first of these wrapping tokens that is wanted; nil: of none.
func (m *roleSecretIDs) of(c Credential, wanted func(*keptSecretID) bool) (secretIDKey, *keptSecretID) {
	for line := range strings.SplitSeq(c.Secret.Reveal(), "\n") {
		key := m.keyOf(line)
		if kept, found := m.all.cache.Get(key); found && wanted(kept) {
			return key, kept
		}
	}
	return secretIDKey{}, nil
}

func (m *roleSecretIDs) isRefused(kept *keptSecretID) bool {
	return kept.refusedFor.Reveal() == m.roleID.Reveal()
}

func (m *roleSecretIDs) usable(kept *keptSecretID) bool { return !m.isRefused(kept) }

// fingerprint is the usual one: the session is with these very tokens, and none with others follows it.
func (*roleSecretIDs) fingerprint(_ []string, usual [sha256.Size]byte) [sha256.Size]byte {
	return usual
}

func (m *roleSecretIDs) known(c Credential) *transport.Token {
	_, kept := m.of(c, m.usable)
	if kept == nil {
		return nil
	}
	return &kept.secretID
}

// keep drops what former wrapping tokens gave, which nobody asks for any more.
func (m *roleSecretIDs) keep(c Credential, line string, secretID transport.Token) {
	place, current := m.keyOf(""), map[secretIDKey]bool{}
	for other := range strings.SplitSeq(c.Secret.Reveal(), "\n") {
		current[m.keyOf(other)] = true
	}
	m.all.cache.RemoveFunc(func(key secretIDKey, kept *keptSecretID) bool { return kept.place == place && !current[key] })
	m.store(m.keyOf(line), &keptSecretID{connection: m.connection, place: place, secretID: secretID})
}

func (m *roleSecretIDs) refuse(c Credential) {
	if key, kept := m.of(c, m.usable); kept != nil {
		next := *kept
		next.refusedFor = m.roleID
		m.store(key, &next)
	}
}

func (m *roleSecretIDs) refused(c Credential) bool {
	_, kept := m.of(c, m.isRefused)
	return kept != nil
}

func (m *roleSecretIDs) store(key secretIDKey, kept *keptSecretID) {
	weight := secretIDOverhead + len(kept.secretID.Reveal()) + len(kept.refusedFor.Reveal())
	m.all.cache.Add(m.namespace, key, kept, int64(weight))
}
