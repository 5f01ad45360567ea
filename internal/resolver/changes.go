package resolver

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// maxChanges is how many changes a node may be behind.
const maxChanges = 1024

// changeBroadcaster tells nodes of secrets that Sallyport itself has changed, so that mounted volumes need not wait for
// the end of their refresh interval. A secret goes by a change key: a digest of its path with a key of this replica, so
// that nodes learn nothing of what is not theirs. A watch.Broadcaster does not do: it has no cursor for a node that was
// away for a moment.
type changeBroadcaster struct {
	instance string
	secret   []byte

	mu sync.Mutex
	// last is the number of the newest change, and keys are those of the newest ones in their order.
	last int
	keys []string
	// more is closed when there is a new one.
	more chan struct{}
}

func newChangeBroadcaster(instance string, secret []byte) *changeBroadcaster {
	return &changeBroadcaster{instance: instance, secret: secret, more: make(chan struct{})}
}

// Place names a secret whichever VaultConfig leads there: by the Vault's address, its namespace and the path as Vault's
// API has it. An equal path in another Vault is another secret. A Vault with two names has two places for each secret,
// so that a change at one is found at the other when the refresh interval ends.
func Place(address, vaultNamespace, path string) string {
	if parsed, err := url.Parse(address); err == nil && parsed.Host != "" {
		port := map[string]string{"https": ":443", "http": ":80"}[parsed.Scheme]
		host := strings.TrimSuffix(strings.ToLower(parsed.Host), port)
		address = parsed.Scheme + "://" + host + parsed.EscapedPath() // below which a gateway has Vault
	}
	// A namespace is a part of the path for whoever asks from a higher one. What is after the address is set apart from
	// it, for a part of the one could be one of the other.
	return strings.TrimRight(address, "/") + " " + strings.Trim(strings.Trim(vaultNamespace, "/")+"/"+path, "/")
}

// keyOf is the change key of the secret at a place.
func (b *changeBroadcaster) keyOf(path string) string {
	mac := hmac.New(sha256.New, b.secret)
	mac.Write([]byte("topic " + path))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12])
}

// keysOf are the change keys of the secrets at these paths.
func (b *changeBroadcaster) keysOf(paths []string) []string {
	keys := make([]string, len(paths))
	for i, path := range paths {
		keys[i] = b.keyOf(path)
	}
	return keys
}

// Announce tells of a change of the secret at a path.
func (b *changeBroadcaster) Announce(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	b.keys = append(b.keys, b.keyOf(path))
	if len(b.keys) > maxChanges {
		b.keys = slices.Clone(b.keys[len(b.keys)-maxChanges:])
	}
	close(b.more)
	b.more = make(chan struct{})
}

// Wait returns the keys of the changes after the cursor, and the cursor of the newest. It waits for one if there is
// none, until ctx ends or stop is closed. A cursor of another replica, or one that is too far behind, gets the newest
// and no keys.
func (b *changeBroadcaster) Wait(
	ctx context.Context, stop <-chan struct{}, cursor string,
) (newest string, keys []string) {
	for {
		b.mu.Lock()
		newest, keys = b.instance+"."+strconv.Itoa(b.last), b.after(cursor)
		more := b.more
		b.mu.Unlock()
		if len(keys) > 0 || cursor != newest {
			return newest, keys
		}
		select {
		case <-more:
		case <-stop:
			return newest, nil
		case <-ctx.Done():
			return newest, nil
		}
	}
}

// after returns the keys after a cursor. The caller holds the lock.
func (b *changeBroadcaster) after(cursor string) []string {
	digits, ok := strings.CutPrefix(cursor, b.instance+".")
	seen, err := strconv.Atoi(digits)
	if !ok || err != nil || seen > b.last || b.last-seen > len(b.keys) {
		return nil
	}
	return slices.Clone(b.keys[len(b.keys)-(b.last-seen):])
}
