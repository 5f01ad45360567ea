package requeue

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func request(namespace string, i int) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: fmt.Sprint(i)}}
}

// work has workers take from the queue until it is shut down; each request takes as long as took says.
func work(t *testing.T, workers int, took func(reconcile.Request) time.Duration) (
	add func(...reconcile.Request), begun func(namespace string) []time.Duration, stop func(),
) {
	t.Helper()
	queue := newFairQueue("", Options(workers).RateLimiter, workers)
	var mu sync.Mutex
	var group sync.WaitGroup
	start, times := time.Now(), map[string][]time.Duration{}
	for range workers {
		group.Go(func() {
			for {
				next, shutdown := queue.Get()
				if shutdown {
					return
				}
				mu.Lock()
				times[next.Namespace] = append(times[next.Namespace], time.Since(start))
				mu.Unlock()
				time.Sleep(took(next))
				queue.Done(next)
			}
		})
	}
	add = func(requests ...reconcile.Request) {
		for _, r := range requests {
			queue.Add(r)
		}
	}
	begun = func(namespace string) []time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return times[namespace]
	}
	return add, begun, func() {
		queue.ShutDown()
		group.Wait()
	}
}

func TestANamespaceHoldsItsShareOfTheWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		add, begun, stop := work(t, 8, func(r reconcile.Request) time.Duration {
			if r.Namespace == "hostile" {
				return time.Minute
			}
			return time.Second
		})
		for i := range 100 {
			add(request("hostile", i))
		}
		synctest.Wait()
		g.Expect(begun("hostile")).To(HaveLen(2))
		add(request("victim", 0))
		synctest.Wait()
		g.Expect(begun("victim")).To(Equal([]time.Duration{0}), "though a hundred came before")

		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		g.Expect(begun("hostile")).To(HaveLen(4), "who is over the share goes on when a worker of the namespace is free")
		stop()
	})
}

func TestNamespacesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		add, begun, stop := work(t, 4, func(reconcile.Request) time.Duration { return 10 * time.Second })
		for i := range 50 {
			for tenant := range 4 { // enough to hold all workers
				add(request(fmt.Sprint("hostile-", tenant), i))
			}
		}
		synctest.Wait()
		add(request("victim", 0))
		time.Sleep(11 * time.Second)
		synctest.Wait()
		g.Expect(begun("victim")).To(Equal([]time.Duration{10 * time.Second}), "the first worker that is free")
		stop()
	})
}

// TestAWorkerIsFreeForOneMore: four namespaces with work that hangs took all workers where each had a quarter, and ten
// where each came while the ones before had taken what they may.
func TestAWorkerIsFreeForOneMore(t *testing.T) {
	for name, alone := range map[string]bool{"together": false, "one after the other": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				add, begun, stop := work(t, VaultWorkers, func(reconcile.Request) time.Duration { return time.Minute })
				defer stop()
				for tenant := range VaultWorkers/2 + 2 {
					for i := range 50 {
						add(request(fmt.Sprint("hostile-", tenant), i))
					}
					if alone {
						synctest.Wait()
						g.Expect(begun(fmt.Sprint("hostile-", tenant))).NotTo(BeEmpty())
					}
				}
				synctest.Wait()
				add(request("victim", 0))
				synctest.Wait()
				g.Expect(begun("victim")).To(Equal([]time.Duration{0}), "though so many hold what they may")
			})
		})
	}
}

// TestNothingWaitsForAWorkerThatIsIdle: where a worker takes what is another's next, idle ones take what is left.
func TestNothingWaitsForAWorkerThatIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		add, begun, stop := work(t, 12, func(r reconcile.Request) time.Duration {
			if r.Namespace == "brief" {
				return time.Second
			}
			return time.Hour
		})
		for i := range 50 {
			add(request("brief", i), request("long", i), request("longer", i))
		}
		synctest.Wait()
		for _, namespace := range []string{"brief", "long", "longer"} {
			g.Expect(begun(namespace)).To(HaveLen(2))
		}
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		g.Expect(len(begun("brief"))).To(BeNumerically(">=", 11), "one at least, every second, though the others have what they may")
		stop()
	})
}

func TestEverythingIsWorkedOffOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		add, begun, stop := work(t, 7, func(r reconcile.Request) time.Duration {
			return time.Duration(len(r.Name)+len(r.Namespace)) * time.Second
		})
		for i := range 7 { // so that no worker takes one before it is there twice
			add(request(fmt.Sprint("first-", i), 0))
		}
		synctest.Wait()
		for tenant := range 100 {
			for i := range tenant % 13 {
				add(request(fmt.Sprint("tenant-", tenant), i), request(fmt.Sprint("tenant-", tenant), i))
			}
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		for tenant := range 100 {
			g.Expect(begun(fmt.Sprint("tenant-", tenant))).To(HaveLen(tenant % 13))
		}
		again := request("tenant-1", 0)
		add(again)
		synctest.Wait()
		add(again) // while it is worked on
		time.Sleep(time.Hour)
		synctest.Wait()
		g.Expect(begun("tenant-1")).To(HaveLen(3), "what comes while it is worked on comes again afterwards")
		stop()
	})
}
