package resolver

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// noticesKept is how many notices a node may be behind.
const noticesKept = 1024

// notices tells nodes of secrets that Sallyport itself has changed, so that mounted volumes need not wait for the end of a round. A secret
// goes by a topic: a digest of its path with a key of this replica, so that nodes learn nothing of what is not theirs.
type notices struct {
	instance string
	key      []byte

	mu sync.Mutex
	// last is the number of the newest notice, and topics are the newest ones in their order.
	last   int
	topics []string
	// more is closed when there is a new one.
	more chan struct{}
}

func newNotices(instance string, key []byte) notices {
	return notices{instance: instance, key: key, more: make(chan struct{})}
}

func (n *notices) topic(path string) string {
	mac := hmac.New(sha256.New, n.key)
	mac.Write([]byte("topic " + path))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12])
}

func (n *notices) add(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	n.topics = append(n.topics, n.topic(path))
	if len(n.topics) > noticesKept {
		n.topics = slices.Clone(n.topics[len(n.topics)-noticesKept:])
	}
	close(n.more)
	n.more = make(chan struct{})
}

// wait returns the topics of the notices after the cursor, and the cursor of the newest. It waits for one if there is none, until ctx ends or stop is
// closed. A cursor of another replica, or one that is too far behind, is answered with the newest and no topics.
func (n *notices) wait(ctx context.Context, stop <-chan struct{}, cursor string) (newest string, topics []string) {
	for {
		n.mu.Lock()
		newest, topics = n.instance+"."+strconv.Itoa(n.last), n.after(cursor)
		more := n.more
		n.mu.Unlock()
		if len(topics) > 0 || cursor != newest {
			return newest, topics
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

// after returns the topics after a cursor. The caller holds the lock.
func (n *notices) after(cursor string) []string {
	digits, ok := strings.CutPrefix(cursor, n.instance+".")
	seen, err := strconv.Atoi(digits)
	if !ok || err != nil || seen > n.last || n.last-seen > len(n.topics) {
		return nil
	}
	return slices.Clone(n.topics[len(n.topics)-(n.last-seen):])
}
