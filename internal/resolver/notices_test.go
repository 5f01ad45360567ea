package resolver

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/internal/vault/secrets"
)

func TestNoticesWakeWhoeverWaits(t *testing.T) {
	g := NewWithT(t)
	n := newNotices("replica", []byte("key"))
	cursor, topics := n.wait(t.Context(), nil, "")
	g.Expect(cursor).To(Equal("replica.0"))
	g.Expect(topics).To(BeEmpty(), "a new node is only told where it stands")

	woken := make(chan []string)
	go func() {
		_, told := n.wait(t.Context(), nil, "replica.0")
		woken <- told
	}()
	n.add("secret/data/a")
	g.Eventually(woken).Should(Receive(Equal([]string{n.topic("secret/data/a")})))

	n.add("secret/data/b")
	cursor, topics = n.wait(t.Context(), nil, "replica.0")
	g.Expect(cursor).To(Equal("replica.2"))
	g.Expect(topics).To(Equal([]string{n.topic("secret/data/a"), n.topic("secret/data/b")}), "nothing is lost in between")
}

func TestNoticesEndTheWait(t *testing.T) {
	g := NewWithT(t)
	n := newNotices("replica", nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	cursor, topics := n.wait(ctx, nil, "replica.0")
	g.Expect([]any{cursor, topics}).To(Equal([]any{"replica.0", []string(nil)}))

	stopping := make(chan struct{})
	close(stopping)
	cursor, _ = n.wait(t.Context(), stopping, "replica.0")
	g.Expect(cursor).To(Equal("replica.0"), "a replica that stops lets everybody go")
}

func TestCursorsThatAreNotUnderstoodAreAnsweredAtOnce(t *testing.T) {
	g := NewWithT(t)
	n := newNotices("replica", nil)
	for range noticesKept + 10 {
		n.add("secret/data/a")
	}
	for _, cursor := range []string{"", "other.3", "replica.", "replica.x", "replica.-1", "replica.99999", "replica.3"} {
		newest, topics := n.wait(t.Context(), nil, cursor)
		g.Expect(newest).To(Equal("replica.1034"), cursor)
		g.Expect(topics).To(BeEmpty(), cursor)
	}
	_, topics := n.wait(t.Context(), nil, "replica.10")
	g.Expect(topics).To(HaveLen(noticesKept))
}

func TestTopicsTellNothing(t *testing.T) {
	g := NewWithT(t)
	one, other := newNotices("a", []byte("key")), newNotices("b", []byte("other key"))
	g.Expect(one.topic("secret/data/a")).To(Equal(one.topic("secret/data/a")))
	g.Expect(one.topic("secret/data/a")).NotTo(Equal(one.topic("secret/data/b")))
	g.Expect(one.topic("secret/data/a")).NotTo(Equal(other.topic("secret/data/a")), "a path cannot be guessed without the replica's key")
}

func TestAChangeEndsTheRoundsOfItsPath(t *testing.T) {
	g := NewWithT(t)
	r, clk := newTestRounds()
	for _, key := range []string{"one", "two", "other"} {
		r.seen(key, &secrets.Secret{Version: 1}, clk.Now())
		r.begin(key, "secret/data/"+map[string]string{"one": "a", "two": "a", "other": "b"}[key])
	}
	started := clk.Now()
	clk.SetTime(clk.Now().Add(time.Second))
	r.changed("secret/data/a")
	for key, expected := range map[string]bool{"one": false, "two": false, "other": true} {
		_, fresh, _ := r.recall(key, interval)
		g.Expect(fresh).To(Equal(expected), key)
	}

	r.seen("one", &secrets.Secret{Version: 1}, started)
	_, fresh, _ := r.recall("one", interval)
	g.Expect(fresh).To(BeFalse(), "a read that began before the change proves nothing")
	r.seen("one", &secrets.Secret{Version: 2}, clk.Now())
	_, fresh, _ = r.recall("one", interval)
	g.Expect(fresh).To(BeTrue())
}
