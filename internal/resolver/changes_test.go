package resolver

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/internal/vault/secrets"
)

func TestAChangeWakesThoseWhoWait(t *testing.T) {
	g := NewWithT(t)
	b := newChangeBroadcaster("replica", []byte("key"))
	cursor, keys := b.Wait(t.Context(), nil, "")
	g.Expect(cursor).To(Equal("replica.0"))
	g.Expect(keys).To(BeEmpty(), "a new node is only told where it stands")

	woken := make(chan []string)
	go func() {
		_, told := b.Wait(t.Context(), nil, "replica.0")
		woken <- told
	}()
	b.Announce("secret/data/a")
	g.Eventually(woken).Should(Receive(Equal([]string{b.keyOf("secret/data/a")})))

	b.Announce("secret/data/b")
	cursor, keys = b.Wait(t.Context(), nil, "replica.0")
	g.Expect(cursor).To(Equal("replica.2"))
	g.Expect(keys).To(Equal([]string{b.keyOf("secret/data/a"), b.keyOf("secret/data/b")}), "nothing is lost in between")
}

func TestTheWaitForChangesEnds(t *testing.T) {
	g := NewWithT(t)
	b := newChangeBroadcaster("replica", nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	cursor, keys := b.Wait(ctx, nil, "replica.0")
	g.Expect([]any{cursor, keys}).To(Equal([]any{"replica.0", []string(nil)}))

	stopping := make(chan struct{})
	close(stopping)
	cursor, _ = b.Wait(t.Context(), stopping, "replica.0")
	g.Expect(cursor).To(Equal("replica.0"), "a replica that stops lets everybody go")
}

func TestCursorsThatAreNotUnderstoodAreAnsweredAtOnce(t *testing.T) {
	g := NewWithT(t)
	b := newChangeBroadcaster("replica", nil)
	for range maxChanges + 10 {
		b.Announce("secret/data/a")
	}
	for _, cursor := range []string{"", "other.3", "replica.", "replica.x", "replica.-1", "replica.99999", "replica.3"} {
		newest, keys := b.Wait(t.Context(), nil, cursor)
		g.Expect(newest).To(Equal("replica.1034"), cursor)
		g.Expect(keys).To(BeEmpty(), cursor)
	}
	_, keys := b.Wait(t.Context(), nil, "replica.10")
	g.Expect(keys).To(HaveLen(maxChanges))
}

func TestChangeKeysTellNothing(t *testing.T) {
	g := NewWithT(t)
	one, other := newChangeBroadcaster("a", []byte("key")), newChangeBroadcaster("b", []byte("other key"))
	g.Expect(one.keyOf("secret/data/a")).To(Equal(one.keyOf("secret/data/a")))
	g.Expect(one.keyOf("secret/data/a")).NotTo(Equal(one.keyOf("secret/data/b")))
	g.Expect(one.keyOf("secret/data/a")).NotTo(Equal(other.keyOf("secret/data/a")), "a path cannot be guessed without the replica's key")
}

func TestAChangeInvalidatesTheVersionsOfItsPath(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	for _, key := range []string{"one", "two", "other"} {
		c.Record(key, &secrets.Secret{Version: 1}, ab, clk.Now())
		c.BeginRead("shop", key, "secret/data/"+map[string]string{"one": "a", "two": "a", "other": "b"}[key])
	}
	started := clk.Now()
	clk.SetTime(clk.Now().Add(time.Second))
	c.Invalidate("secret/data/a")
	for key, expected := range map[string]bool{"one": false, "two": false, "other": true} {
		_, fresh, _ := c.Get(key, ab, interval, false)
		g.Expect(fresh).To(Equal(expected), key)
	}

	c.Record("one", &secrets.Secret{Version: 1}, ab, started)
	_, fresh, _ := c.Get("one", ab, interval, false)
	g.Expect(fresh).To(BeFalse(), "a read that began before the change proves nothing")
	c.Record("one", &secrets.Secret{Version: 2}, ab, clk.Now())
	_, fresh, _ = c.Get("one", ab, interval, false)
	g.Expect(fresh).To(BeTrue())
}

func TestPlaceOfASecret(t *testing.T) {
	g := NewWithT(t)
	place := Place("https://gw.example.com/Vault", "team", "secret/data/db")
	for _, same := range []string{
		Place("https://GW.example.com:443/Vault/", "team/", "secret/data/db"),
		Place("https://gw.example.com/Vault", "", "team/secret/data/db"),
	} {
		g.Expect(same).To(Equal(place))
	}
	for _, other := range []string{
		Place("https://gw.example.com/vault", "team", "secret/data/db"),
		Place("https://gw.example.com", "Vault/team", "secret/data/db"),
		Place("https://gw.example.com:8443/Vault", "team", "secret/data/db"),
	} {
		g.Expect(other).NotTo(Equal(place))
	}
}
