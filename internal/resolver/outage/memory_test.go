package outage

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/test/redaction"
)

func keyOf(namespace, workload, location string) Key {
	return Key{Identity: Identity{Config: "uid", Generation: 1, Workload: workload}, Namespace: namespace, Location: location}
}

func readNow(place string, data map[string]any) Read {
	return Read{Secret: &secrets.Secret{Data: data}, Place: place, Started: time.Now()}
}

func TestWhatIsKeptIsForWhoHadItRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		m := New(clock.RealClock{})
		mine := keyOf("shop", "shop/app", "db")
		m.Keep(mine, readNow("p", map[string]any{"a": "1", "b": "2"}), []string{"a"}, time.Now().Add(time.Hour))
		found, known := m.Recall(mine, []string{"a"})
		g.Expect(known).To(BeTrue())
		g.Expect(found.Secret.Data).To(Equal(map[string]any{"a": "1"}), "no more than was wanted")
		for name, key := range map[string]Key{
			"another service account": keyOf("shop", "shop/other", "db"), "nobody's": keyOf("shop", "", "db"),
			"another namespace": keyOf("other", "shop/app", "db"), "another secret": keyOf("shop", "shop/app", "db2"),
			"another generation": {Identity: Identity{Config: "uid", Generation: 2, Workload: "shop/app"}, Namespace: "shop", Location: "db"},
			"another config":     {Identity: Identity{Config: "uid2", Generation: 1, Workload: "shop/app"}, Namespace: "shop", Location: "db"},
		} {
			_, known = m.Recall(key, []string{"a"})
			g.Expect(known).To(BeFalse(), name)
		}
		_, known = m.Recall(mine, []string{"a", "b"})
		g.Expect(known).To(BeFalse(), "nobody wanted b")
		_, known = m.Recall(mine, []string{Whole})
		g.Expect(known).To(BeFalse())
	})
}

func TestValuesLeaveMemoryWhenTheirTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		m := New(clock.RealClock{})
		key := keyOf("shop", "", "db")
		m.Keep(key, readNow("p", map[string]any{"a": "1"}), []string{"a"}, time.Now().Add(time.Hour))
		time.Sleep(30 * time.Minute)
		m.Keep(key, readNow("p", map[string]any{"a": "2", "b": "3"}), []string{"b"}, time.Now().Add(time.Hour))
		found, known := m.Recall(key, []string{"a", "b"})
		g.Expect(known).To(BeTrue(), "who wants a goes on wanting it, and has the newest")
		g.Expect(found.Secret.Data).To(Equal(map[string]any{"a": "2", "b": "3"}))
		time.Sleep(31 * time.Minute)
		g.Expect(m.entries.Len()).To(Equal(1), "a newer read has time of its own")
		m.Keep(key, readNow("p", map[string]any{"a": "2", "b": "3"}), []string{"b"}, time.Now().Add(time.Hour))
		_, known = m.Recall(key, []string{"a"})
		g.Expect(known).To(BeFalse(), "nobody has wanted a for an hour")
		time.Sleep(time.Hour)
		synctest.Wait()
		g.Expect(m.entries.Len()).To(BeZero(), "although nobody asked")
	})
}

func TestARefusalEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		m := New(clock.RealClock{})
		all := []Key{keyOf("shop", "", "a"), keyOf("shop", "", "b"), keyOf("other", "", "a"), keyOf("shop", "shop/app", "a")}
		left := func() (left []int) {
			for i, key := range all {
				if _, known := m.Recall(key, []string{"k"}); known {
					left = append(left, i)
				}
			}
			return left
		}
		keepAll := func() {
			for _, key := range all {
				m.Keep(key, readNow("place of "+key.Location, map[string]any{"k": "v"}), []string{"k"}, time.Now().Add(time.Hour))
			}
		}
		keepAll()
		m.Forget(all[0])
		g.Expect(left()).To(Equal([]int{1, 2, 3}))
		keepAll()
		m.ForgetIdentity(all[0].Identity)
		g.Expect(left()).To(Equal([]int{3}), "whoever had it read")
		keepAll()
		before := readNow("place of a", map[string]any{"k": "old"})
		time.Sleep(time.Second)
		m.ForgetPlace("place of a")
		g.Expect(left()).To(Equal([]int{1}))
		m.Keep(all[0], before, []string{"k"}, time.Now().Add(time.Hour))
		g.Expect(left()).To(Equal([]int{1}), "a read that began before may have come too early")
		keepAll()
		g.Expect(left()).To(Equal([]int{0, 1, 2, 3}))
		m.ForgetConfig("another")
		g.Expect(left()).To(HaveLen(4))
		m.ForgetConfig("uid")
		g.Expect(left()).To(BeEmpty())
		time.Sleep(time.Hour)
	})
}

func TestAReadThatARefusalOvertookIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		m := New(clock.RealClock{})
		mine, others := keyOf("shop", "", "db"), keyOf("other", "", "db")
		slow, until := readNow("p", map[string]any{"k": "v"}), time.Now().Add(time.Hour)
		time.Sleep(time.Second)
		m.Forget(mine)
		m.Keep(mine, slow, []string{"k"}, until)
		_, known := m.Recall(mine, []string{"k"})
		g.Expect(known).To(BeFalse(), "Vault answered before it refused")
		_, known = m.Recall(mine, nil)
		g.Expect(known).To(BeFalse())
		m.Keep(others, slow, []string{"k"}, until)
		_, known = m.Recall(others, []string{"k"})
		g.Expect(known).To(BeTrue())
		m.ForgetIdentity(others.Identity)
		m.Keep(others, slow, []string{"k"}, until)
		_, known = m.Recall(others, []string{"k"})
		g.Expect(known).To(BeFalse())
		time.Sleep(59 * time.Second)
		for _, key := range []Key{mine, others} {
			m.Keep(key, slow, []string{"k"}, until)
			_, known = m.Recall(key, []string{"k"})
			g.Expect(known).To(BeFalse(), "a read may take a minute, and was overtaken all the same")
		}
		time.Sleep(2 * time.Minute)
		g.Expect(m.entries.Len()).To(BeZero(), "no read is under way that long")
		m.Keep(mine, readNow("p", map[string]any{"k": "v"}), []string{"k"}, until)
		_, known = m.Recall(mine, []string{"k"})
		g.Expect(known).To(BeTrue())
		time.Sleep(time.Hour)
	})
}

// Whoever changes secrets all the time must not keep what others read from being remembered.
func TestAChangeIsOfItsPlaceAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		m := New(clock.RealClock{})
		read := readNow("victim's", map[string]any{"k": "v"})
		time.Sleep(time.Millisecond)
		for i := range maxChanged - 1 {
			m.ForgetPlace(fmt.Sprint("hostile ", i))
		}
		keep := func(location, place string) bool {
			one := read
			one.Place = place
			key := keyOf("victim", "", location)
			m.Keep(key, one, []string{"k"}, time.Now().Add(time.Minute))
			_, known := m.Recall(key, []string{"k"})
			return known
		}
		g.Expect(keep("a", "victim's")).To(BeTrue())
		g.Expect(keep("b", "hostile 3")).To(BeFalse())
		m.ForgetPlace("hostile, too")
		m.ForgetPlace("one too many")
		g.Expect(keep("c", "hostile 3")).To(BeFalse(), "rather none than one that came too early")
		g.Expect(len(m.changed)).To(BeNumerically("<=", maxChanged))
		time.Sleep(time.Hour)
	})
}

func TestAnEditEndsWhatWasReadBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		m := New(clock.RealClock{})
		keep := func(generation int64, location string) {
			key := keyOf("shop", "", location)
			key.Generation = generation
			m.Keep(key, readNow("p", map[string]any{"k": "v"}), []string{"k"}, time.Now().Add(time.Hour))
		}
		keep(1, "a")
		keep(1, "b")
		g.Expect(m.entries.Len()).To(Equal(2))
		keep(2, "a")
		g.Expect(m.entries.Len()).To(Equal(1), "nobody gets values of the first generation any more, so they leave memory")
		time.Sleep(time.Hour)
	})
}

// A secret is read once in five seconds for up to a day.
func TestReadsLeaveNothingBehind(t *testing.T) {
	g := NewWithT(t)
	m := New(clock.RealClock{})
	used := func() int64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	read, before := readNow("p", map[string]any{"k": "v"}), used()
	for i := range 50_000 {
		m.Keep(keyOf("shop", "", fmt.Sprint(i%100)), read, []string{"k"}, time.Now().Add(24*time.Hour))
	}
	g.Expect(used() - before).To(BeNumerically("<", 4<<20))
	runtime.KeepAlive(m)
	m.ForgetConfig("uid")
}

func TestANamespaceHasItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		m := New(clock.RealClock{})
		victim := keyOf("victim", "", "db")
		m.Keep(victim, readNow("p", map[string]any{"k": "v"}), []string{"k"}, time.Now().Add(time.Minute))
		for i := range 100 {
			m.Keep(keyOf("greedy", "", fmt.Sprint(i)), readNow("p", map[string]any{"k": strings.Repeat("x", heap.OutageShare/4)}), []string{"k"}, time.Now().Add(time.Minute))
		}
		_, known := m.Recall(victim, []string{"k"})
		g.Expect(known).To(BeTrue())
		g.Expect(m.entries.Len()).To(BeNumerically("<=", 5))
		time.Sleep(time.Hour)
	})
}

func TestNothingPrintsSecrets(t *testing.T) {
	m := New(clock.RealClock{})
	read := readNow("p", map[string]any{"k": redaction.Secret})
	m.Keep(keyOf("shop", "", "db"), read, []string{"k"}, time.Now().Add(time.Minute))
	redaction.Check(t, map[string]any{"read": read, "pointer to a read": &read, "memory": m, "entry": &entry{Read: read}})
}
