package vaultconfig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// life is a session whose token lives for a minute from each renewal.
type life struct {
	hangs bool

	mu      sync.Mutex
	fails   int
	due     time.Time
	renewed []time.Duration
	began   time.Time
	tries   int
}

func newLife(hangs bool, fails int) *life {
	return &life{hangs: hangs, fails: fails, began: time.Now(), due: time.Now().Add(40 * time.Second)}
}

func (l *life) NextRenewal() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.due
}

func (l *life) Renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tries++
	if l.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if l.fails > 0 {
		l.fails--
		return errors.New("no")
	}
	l.renewed = append(l.renewed, time.Since(l.began))
	l.due = time.Now().Add(40 * time.Second)
	return nil
}

// renewals are the times at which it was renewed.
func (l *life) renewals() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.renewed)
}

func started(t *testing.T) (*renewals, workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	t.Helper()
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	t.Cleanup(queue.ShutDown)
	r := newRenewals(clock.RealClock{})
	if err := r.start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	return r, queue
}

func TestATokenIsRenewedInTimeWhateverVaultsHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		r, queue := started(t)
		for i := range 100 {
			r.plan(builder.VaultConfig("hostile", fmt.Sprint(i)), newLife(true, 0))
		}
		victim, own := builder.VaultConfig("victim", "main"), newLife(false, 0)
		r.plan(victim, own)
		time.Sleep(5*time.Minute + time.Second)
		synctest.Wait()
		var wanted []time.Duration
		for i := range 7 {
			wanted = append(wanted, time.Duration(i+1)*40*time.Second)
		}
		g.Expect(own.renewals()).To(Equal(wanted))
		g.Expect(r.lanes.Len()).To(Equal(1), "that of the hostile namespace")
		g.Expect(queue.Len()).To(BeNumerically(">", 1), "the controller is told")

		r.drop(keyOf(victim))
		time.Sleep(time.Minute)
		g.Expect(own.renewals()).To(HaveLen(7), "a VaultConfig that is gone renews nothing")
	})
}

func TestOneNamespaceRenewsSoManyTokensAtAVaultAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		r, _ := started(t)
		lives := make([]*life, 100)
		for i := range lives {
			lives[i] = newLife(true, 0)
			r.plan(builder.VaultConfig("hostile", fmt.Sprint(i)), lives[i])
		}
		time.Sleep(41 * time.Second)
		synctest.Wait()
		g.Expect(r.lanes.Len()).To(Equal(1))
		held, users := r.lanes.Of(laneKey{namespace: "hostile", url: builder.VaultConfig("hostile", "0").Spec.URL})
		g.Expect(held).To(BeEquivalentTo(renewalsAtATime))
		g.Expect(users).To(Equal(100))
	})
}

func TestAFailedRenewalIsTriedAgainWithinSecondsAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		r, _ := started(t)
		config, own := builder.VaultConfig("shop", "main"), newLife(false, 5)
		r.plan(config, own)
		time.Sleep(40*time.Second + time.Millisecond)
		synctest.Wait()
		g.Expect(r.failure(keyOf(config), own)).To(MatchError("no"))
		r.plan(config, own) // as the controller does, which must not begin anew
		time.Sleep(25 * time.Second)
		synctest.Wait()
		g.Expect(own.tries).To(Equal(6))
		g.Expect(own.renewals()).To(HaveLen(1))
		g.Expect(r.failure(keyOf(config), own)).To(Succeed())
		g.Expect(r.failure(keyOf(config), newLife(false, 0))).To(Succeed(), "another session has not failed")
	})
}

func TestAPlanFollowsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		r, _ := started(t)
		config, former, next := builder.VaultConfig("shop", "main"), newLife(false, 0), newLife(false, 0)
		r.plan(config, former)
		r.plan(config, next)
		time.Sleep(41 * time.Second)
		synctest.Wait()
		g.Expect(former.tries).To(BeZero())
		g.Expect(next.renewed).To(HaveLen(1))

		next.mu.Lock()
		next.due = time.Time{} // its max TTL is reached
		next.mu.Unlock()
		r.plan(config, next)
		g.Expect(r.byConfig).To(BeEmpty())
	})
}

func keyOf(config *v1alpha1.VaultConfig) (key types.NamespacedName) {
	key.Namespace, key.Name = config.Namespace, config.Name
	return key
}
