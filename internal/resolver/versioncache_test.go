package resolver

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	testingclock "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

const interval = 10 * time.Second

// ab are the fields that references name.
var ab = []string{"a", "b"}

func newTestVersionCache() (*versionCache, *testingclock.FakePassiveClock) {
	clk := testingclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	return newVersionCache(clk), clk
}

func TestOneReadServesAnInterval(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	_, fresh, _ := c.Get("s", ab, interval, false)
	g.Expect(fresh).To(BeFalse(), "a secret that was never read is not known")

	three := c.Record("s", &secrets.Secret{Version: 3}, ab, clk.Now())
	version, fresh, _ := c.Get("s", ab, interval, false)
	g.Expect(fresh).To(BeTrue())
	g.Expect(version).To(Equal(three))
	g.Expect(c.NextRead("s", interval)).To(Equal(interval))

	clk.SetTime(clk.Now().Add(6 * time.Second))
	g.Expect(c.NextRead("s", interval)).To(Equal(4*time.Second), "all volumes are told the same moment, whenever they ask")
	_, fresh, _ = c.Get("s", ab, 5*time.Second, false)
	g.Expect(fresh).To(BeFalse(), "a volume with a shorter interval reads sooner")

	clk.SetTime(clk.Now().Add(4 * time.Second))
	_, fresh, _ = c.Get("s", ab, interval, false)
	g.Expect(fresh).To(BeFalse(), "the interval has ended")
}

// A volume may be answered while another one reads: it must not have what is out of date for another interval.
func TestWhoWasAnsweredWithAFormerVersionComesAgainAtOnce(t *testing.T) {
	for name, secret := range map[string]func(n int64) *secrets.Secret{
		"with versions":    func(n int64) *secrets.Secret { return &secrets.Secret{Version: n} },
		"without versions": func(n int64) *secrets.Secret { return &secrets.Secret{Data: map[string]any{"a": n, "b": "same"}} },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c, clk := newTestVersionCache()
			e := &Engine{reader: &secretReader{versions: c}}
			s := &source{key: "s", wanted: map[string]bool{"a": true, "b": true}}
			s.version = c.Record("s", secret(3), s.fields(), clk.Now())
			p := &plan{sources: []*source{s}}
			g.Expect(e.refreshAfter(p, interval)).To(Equal(interval))
			clk.SetTime(clk.Now().Add(interval))
			latest := c.Record("s", secret(4), s.fields(), clk.Now())
			g.Expect(e.refreshAfter(p, interval)).To(Equal(minRefreshAfter))
			s.version = latest
			g.Expect(e.refreshAfter(p, interval)).To(Equal(interval))
			c.Invalidate("")
			g.Expect(e.refreshAfter(p, interval)).To(Equal(interval), "another one is not known yet")
		})
	}
}

// Volumes that have nothing in common are due at few moments, and no secret is read more often for that.
func TestReadsAreDueOnAGrid(t *testing.T) {
	for _, row := range []struct {
		interval, step time.Duration
	}{
		{5 * time.Second, time.Second}, {10 * time.Second, time.Second}, {7500 * time.Millisecond, 7500 * time.Millisecond / 7},
		{16 * time.Second, time.Second}, {time.Minute, time.Minute / 16}, {time.Hour, time.Hour / 16},
	} {
		t.Run(row.interval.String(), func(t *testing.T) {
			g := NewWithT(t)
			c, clk := newTestVersionCache()
			start := clk.Now()
			due := map[time.Time]bool{}
			for i := range 100 { // read at any moment of an interval
				clk.SetTime(start.Add(time.Duration(i) * row.interval / 100))
				c.Record(fmt.Sprint(i), &secrets.Secret{Version: 1}, ab, clk.Now())
				next := c.NextRead(fmt.Sprint(i), row.interval)
				g.Expect(next).To(And(BeNumerically("<=", row.interval), BeNumerically(">=", row.interval-row.step), BeNumerically(">=", time.Second)))
				point := floorToGrid(clk.Now().Add(next+earlySlack), row.interval)
				g.Expect(clk.Now().Add(next)).To(BeTemporally("~", point, earlySlack), "at a point, or a moment before")
				due[point] = true
				g.Expect(clk.Now().Add(c.NextRead("unknown", row.interval))).To(
					Equal(floorToGrid(clk.Now().Add(row.interval), row.interval)), "of what is not read, too")
			}
			g.Expect(len(due)).To(BeNumerically("<=", 16+1))

			const late = 3 * time.Millisecond // as requests are
			for range 50 {
				clk.SetTime(clk.Now().Add(c.NextRead("0", row.interval) + late))
				_, fresh, _ := c.Get("0", ab, row.interval, false)
				g.Expect(fresh).To(BeFalse(), "at its moment it is read")
				c.Record("0", &secrets.Secret{Version: 1}, ab, clk.Now())
				g.Expect(c.NextRead("0", row.interval)).To(BeNumerically("~", row.interval-late, time.Microsecond), "an interval after that point")
			}
			clk.SetTime(clk.Now().Add(c.NextRead("0", row.interval) - earlySlack/2))
			_, fresh, _ := c.Get("0", ab, row.interval, false)
			g.Expect(fresh).To(BeFalse(), "who comes a moment early reads, too")
			c.Record("0", &secrets.Secret{Version: 1}, ab, clk.Now())
			g.Expect(c.NextRead("0", row.interval)).To(BeNumerically("~", row.interval, time.Microsecond), "and no sooner for that")
		})
	}
}

func TestASecretWithoutVersionsGetsANewVersionOnlyWhenItChanges(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	first := c.Record("s", &secrets.Secret{Data: map[string]any{"a": "1", "b": "2"}}, ab, clk.Now())
	g.Expect(c.Record("s", &secrets.Secret{Data: map[string]any{"b": "2", "a": "1"}}, ab, clk.Now())).To(Equal(first))
	g.Expect(c.Record("s", &secrets.Secret{Data: map[string]any{"a": "1", "b": "3"}}, ab, clk.Now())).NotTo(Equal(first))

	other, _ := newTestVersionCache()
	g.Expect(other.Record("s", &secrets.Secret{Data: map[string]any{"a": "1", "b": "2"}}, ab, clk.Now())).NotTo(Equal(first),
		"another replica's versions say nothing about this one's")
}

func TestOnlyTheFieldsThatReferencesNameCount(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	read := func(ttl string, wanted ...string) contentVersion {
		clk.SetTime(clk.Now().Add(time.Second))
		role := &secrets.Secret{Data: map[string]any{"a": "1", "ttl": json.Number(ttl)}}
		return c.Record("s", role, wanted, clk.Now())
	}
	first, counting := read("90", ab...), read("89", "ttl")
	g.Expect(read("88", ab...)).To(Equal(first), "what counts down beside them is nothing to them")
	version, fresh, _ := c.Get("s", ab, interval, false)
	g.Expect(fresh).To(BeTrue())
	g.Expect(version).To(Equal(first))
	version, fresh, _ = c.Get("s", []string{"ttl"}, interval, false)
	g.Expect(fresh).To(BeTrue(), "one read serves whoever wants something else, too")
	g.Expect(version).NotTo(Equal(counting))
	_, fresh, _ = c.Get("s", []string{"other"}, interval, false)
	g.Expect(fresh).To(BeFalse(), "nobody looked at it")

	late := &secrets.Secret{Data: map[string]any{"a": "0"}}
	older := c.Record("s", late, ab, clk.Now().Add(-time.Second))
	g.Expect(older).NotTo(Equal(first), "who got another content from an older read must not take it for the newest")
	version, _, _ = c.Get("s", ab, interval, false)
	g.Expect(version).To(Equal(first))
}

func TestASecretIsReadAgainWhenVaultChangesIt(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	begin := clk.Now()
	c.Record("s", &secrets.Secret{ChangesIn: 20 * time.Second}, ab, begin)
	g.Expect(c.NextRead("s", time.Hour)).To(Equal(21 * time.Second))
	g.Expect(c.NextRead("s", interval)).To(Equal(interval))
	clk.SetTime(begin.Add(20 * time.Second))
	_, fresh, _ := c.Get("s", ab, time.Hour, false)
	g.Expect(fresh).To(BeTrue())
	clk.SetTime(begin.Add(21 * time.Second))
	_, fresh, _ = c.Get("s", ab, time.Hour, false)
	g.Expect(fresh).To(BeFalse())
	c.Record("s", &secrets.Secret{ChangesIn: 1}, ab, clk.Now())
	g.Expect(c.NextRead("s", time.Hour)).To(Equal(changePause), "Vault may be late")
}

func TestFieldsOfASecretAreBounded(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	for i := range 3 * maxFields {
		c.Record("s", &secrets.Secret{}, []string{strconv.Itoa(i)}, clk.Now())
	}
	entry, _ := c.entries.Get(versionKeyOf("s"))
	g.Expect(len(entry.fields)).To(BeNumerically("<=", maxFields))
}

func TestAFailureIsSharedForAMomentOnly(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	one := c.Record("s", &secrets.Secret{Version: 1}, ab, clk.Now())
	down := errors.New("down")
	c.RecordFailure("s", down)
	_, fresh, failure := c.Get("s", ab, interval, false)
	g.Expect(fresh).To(BeTrue())
	g.Expect(failure).To(Equal(down))

	clk.SetTime(clk.Now().Add(failureTTL))
	version, _, failure := c.Get("s", ab, interval, false)
	g.Expect(failure).NotTo(HaveOccurred())
	g.Expect(version).To(Equal(one), "what was read before the failure is still this interval's")
}

func TestAReadThatOverlapsALaterOneDoesNotTurnTheClockBack(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	two := c.Record("s", &secrets.Secret{Version: 2}, ab, clk.Now())
	c.Record("s", &secrets.Secret{Version: 1}, ab, clk.Now().Add(-time.Second))
	version, _, _ := c.Get("s", ab, interval, false)
	g.Expect(version).To(Equal(two))
}

func TestASecretThatIsMadeAnewIsAnotherOne(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	first := c.Record("s", &secrets.Secret{Version: 1, CreatedTime: clk.Now()}, ab, clk.Now())
	g.Expect(c.Record("s", &secrets.Secret{Version: 1, CreatedTime: clk.Now().Add(time.Minute)}, ab, clk.Now())).NotTo(Equal(first),
		"after its metadata was deleted, versions begin at 1 again")

	first = c.Record("v1", &secrets.Secret{Data: map[string]any{"a": "1"}}, ab, clk.Now())
	clk.SetTime(clk.Now().Add(idleTTL))
	c.Record("other", &secrets.Secret{Version: 1}, ab, clk.Now())
	_, known := c.entries.Get(versionKeyOf("v1"))
	g.Expect(known).To(BeFalse())
	g.Expect(c.Record("v1", &secrets.Secret{Data: map[string]any{"a": "2"}}, ab, clk.Now())).NotTo(Equal(first), "also after it was forgotten")
}

func TestForgottenSecretsLeaveNoTrace(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	c.Record("old", &secrets.Secret{Version: 1}, ab, clk.Now())
	clk.SetTime(clk.Now().Add(idleTTL))
	c.Record("new", &secrets.Secret{Version: 1}, ab, clk.Now())
	g.Expect(c.entries.Len()).To(Equal(1))
}

func TestANamespaceTakesItsShareOfTheMemoryOfSecrets(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	remember := func(namespace, key string) {
		c.BeginRead(namespace, key, key)
		c.Record(key, &secrets.Secret{Version: 1}, ab, clk.Now())
	}
	remember("victim", "v")
	first := c.BeginRead("greedy", "g0", "g0")
	for i := range 10_000 {
		remember("greedy", fmt.Sprint("g", i))
	}
	g.Expect(c.entries.Len()).To(BeNumerically("<=", 1+heap.VersionsShare/entryPrice), "as many as fit into a share, and the victim's")
	_, fresh, _ := c.Get("v", ab, interval, false)
	g.Expect(fresh).To(BeTrue())
	g.Expect(c.BeginRead("greedy", "g0", "g0")).NotTo(Equal(first),
		"what had to give way may have changed, so that nobody joins a read that began before")
}

func TestContentVersionsTellTheirNumber(t *testing.T) {
	c, _ := newTestVersionCache()
	for number, version := range map[int64]contentVersion{
		0: "", 7: "7.1", 12: "12.-62135596800000000000",
	} {
		NewWithT(t).Expect(version.number()).To(Equal(number))
	}
	NewWithT(t).Expect(contentVersion(c.instance + ".1").number()).To(BeZero())
}

// TestTwentyThousandSecretsAreRemembered: where one is forgotten before it is due, each that comes by reads it.
func TestTwentyThousandSecretsAreRemembered(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	const number, namespaces = 20_000, 100
	key := func(i int) string {
		return fmt.Sprintf("7d9f8a62-5c0f-4b1e-9d33-1a2b3c4d%04d/1  secret/data/bench/%d?version=0", i%namespaces, i)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range number {
		c.BeginRead(fmt.Sprint("bench-", i%namespaces), key(i), fmt.Sprintf("https://vault.example.com  secret/data/bench/%d", i))
		c.Record(key(i), &secrets.Secret{Version: 7, CreatedTime: clk.Now()}, ab, clk.Now())
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	took := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d bytes each", took/number)
	g.Expect(took/number).To(BeNumerically("<=", entryPrice), "what it costs is what it is taken for")
	for i := range number {
		_, fresh, _ := c.Get(key(i), ab, time.Minute, false)
		g.Expect(fresh).To(BeTrue(), "%d", i)
	}
}
