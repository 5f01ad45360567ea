package lease

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
)

// queued is a revocation at a Vault of a namespace.
func queued(namespace, vault string) revocation {
	return revocation{namespace: namespace, lease: Lease{
		LeaseID: "database/creds/app/x", Vault: vault, Config: types.NamespacedName{Namespace: namespace, Name: "main"},
	}}
}

func TestAVaultThatHangsHoldsUpNoOthersRevocations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		q := newRevocationQueue()
		var hung, done atomic.Int64
		revoke := func(r revocation) bool {
			if r.namespace == "victim" {
				done.Add(1)
				return true
			}
			hung.Add(1)
			time.Sleep(callTimeout)
			return false
		}
		for tenant := range 3 * maxWorkers / maxWorkersOfNamespace { // more than all workers can serve
			for vault := range 20 {
				for range 5 {
					g.Expect(q.add(queued(fmt.Sprint("hostile-", tenant), fmt.Sprint("https://", vault)))).To(BeTrue())
				}
			}
		}
		q.work(revoke)
		synctest.Wait()
		g.Expect(hung.Load()).To(BeEquivalentTo(maxWorkers))
		for range 100 {
			g.Expect(q.add(queued("victim", "https://vault"))).To(BeTrue())
		}
		q.work(revoke)
		time.Sleep(maxFailures*callTimeout + time.Millisecond)
		synctest.Wait()
		g.Expect(done.Load()).To(BeEquivalentTo(100), "the victim comes next: nobody of its namespace is served yet")

		time.Sleep(time.Hour)
		synctest.Wait()
		g.Expect(q.busy()).To(BeFalse(), "what fails pauses until the next sweep")
		tried := hung.Load()
		q.resume()
		q.work(revoke)
		time.Sleep(time.Hour)
		synctest.Wait()
		g.Expect(hung.Load()).To(Equal(2*tried), "and is tried again then")
	})
}

func TestOneFailureDoesNotHoldUpTheRestOfItsLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		q := newRevocationQueue()
		for i := range 50 {
			r := queued("shop", "https://vault")
			r.lease.Name = fmt.Sprint(i)
			q.add(r)
		}
		q.work(func(r revocation) bool { return r.lease.Name != "0" })
		synctest.Wait()
		g.Expect(q.length()).To(Equal(1))
		g.Expect(q.busy()).To(BeFalse())
	})
}

func TestMemoriesHaveAShareForEachNamespace(t *testing.T) {
	g := NewWithT(t)
	q := newRevocationQueue()
	for range maxQueuedOfNamespace {
		g.Expect(q.add(queued("hostile", "https://vault"))).To(BeTrue())
	}
	g.Expect(q.add(queued("hostile", "https://vault"))).To(BeFalse(), "its share is full")
	g.Expect(q.add(queued("victim", "https://vault"))).To(BeTrue())

	p := newPendingLeases()
	volume := Volume{ID: "csi-1", PodUID: "uid", Namespace: "hostile"}
	g.Expect(p.add(volume, make([]Lease, maxPendingOfNamespace), noon)).To(BeZero())
	g.Expect(p.add(volume, make([]Lease, 2), noon)).To(Equal(2), "its share is full")
	g.Expect(p.add(Volume{ID: "csi-2", PodUID: "other", Namespace: "victim"}, make([]Lease, 1), noon)).To(BeZero())
	p.take(volume, func(Lease) bool { return true })
	g.Expect(p.add(volume, make([]Lease, 2), noon)).To(BeZero(), "there is room again")
}
