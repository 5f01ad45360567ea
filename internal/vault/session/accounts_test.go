package session

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
)

// vaultCounter counts refused logins as Vault does by default, and tells what it counted at most.
type vaultCounter struct {
	count, most int
	last        time.Time
}

func (v *vaultCounter) refuse(now time.Time) {
	if now.Sub(v.last) > 15*time.Minute {
		v.count = 0
	}
	v.count, v.last = v.count+1, now
	v.most = max(v.most, v.count)
}

func TestRefusedLoginsAreTriedSoonAndNeverCountedThrice(t *testing.T) {
	key, wrong, corrected := accountKey{1}, sha256.Sum256([]byte("wrong")), sha256.Sum256([]byte("corrected"))
	for name, test := range map[string]struct {
		alone bool
		first []time.Duration
	}{
		"that nobody else was refused": {true, []time.Duration{
			0, 5 * time.Minute, 25 * time.Minute, 45 * time.Minute, 65 * time.Minute,
		}},
		"that another replica may have been refused": {false, []time.Duration{
			0, 20 * time.Minute, 40 * time.Minute, 60 * time.Minute, 80 * time.Minute,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			clk := clocktesting.NewFakePassiveClock(time.Now())
			start, tested, vault := clk.Now(), newAccounts(clk), vaultCounter{}
			var tried []time.Duration
			for range 100 * 60 / 10 {
				// Several VaultConfigs with the same account ask one after the other.
				for range 5 {
					if _, again := tested.next(key, wrong); clk.Now().Before(again) {
						continue
					}
					tested.refuse(key, wrong, test.alone)
					vault.refuse(clk.Now())
					tried = append(tried, clk.Now().Sub(start))
				}
				clk.SetTime(clk.Now().Add(10 * time.Second))
			}
			g.Expect(tried[:5]).To(Equal(test.first), fmt.Sprint(tried))
			g.Expect(vault.most).To(BeNumerically("<", 3))

			_, again := tested.next(key, corrected)
			g.Expect(again).To(BeZero(), "what somebody corrected is offered at once")
			tested.refuse(key, corrected, true)
			_, again = tested.next(key, wrong)
			g.Expect(again).To(BeTemporally(">", clk.Now()), "the former one is not offered again for it")
			tested.accept(key)
			_, again = tested.next(key, wrong)
			g.Expect(again).To(BeZero())
		})
	}
}

// lockable is an auth method whose refused logins Vault counts.
type lockable struct{ auth.Method }

func (lockable) Account() string { return "auth/userpass/login/bob" }
func (lockable) Remedy() string  { return "put the right password there" }

// unlockable is a method without an account that Vault may lock.
type unlockable struct{ auth.Method }

func (unlockable) Account() string { return "" }

// status of a VaultConfig of which the leading replica says so.
func status(accepted bool, refused *v1alpha1.RefusedLogin) *v1alpha1.VaultConfig {
	config := &v1alpha1.VaultConfig{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	condition := metav1.Condition{
		Type: v1alpha1.ConditionAuthenticated, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonAuthFailed,
		Message: "the condition Ready says why", ObservedGeneration: 1,
	}
	ready := condition
	ready.Type, ready.Message = v1alpha1.ConditionReady, "wrong password"
	if accepted {
		condition.Status = metav1.ConditionTrue
	}
	config.Status.Conditions, config.Status.RefusedLogin = []metav1.Condition{condition, ready}, refused
	return config
}

func TestOneReplicaIsRefusedForAll(t *testing.T) {
	g := NewWithT(t)
	clk := clocktesting.NewFakePassiveClock(time.Now())
	process := func(leads bool) *offers {
		return newOffers(newAccounts(clk), func() bool { return leads }, "https://vault", lockable{}, "VaultConfig shop/prod")
	}
	wrong := auth.NewCredential("wrong")
	wrong.Version = "7"
	refusal := &auth.RejectedError{Fault: fault.Waiting(v1alpha1.ReasonAuthFailed, "wrong password"), Counted: true}
	leader, follower := process(true), process(false)
	g.Expect(follower.held(wrong)).To(MatchError(HavePrefix("the leading replica logs in first")))
	g.Expect(leader.held(wrong)).To(Succeed())
	leader.reject(wrong, refusal)
	g.Expect(leader.held(wrong)).To(MatchError("wrong password"))

	told := &v1alpha1.RefusedLogin{Time: new(metav1.NewTime(leader.last().Time.Truncate(time.Second))), SecretVersion: "7"}
	leader.tell(status(false, told))
	follower.tell(status(false, told))
	restarted := process(true)
	restarted.tell(status(false, told))
	clk.SetTime(clk.Now().Add(5 * time.Minute))
	g.Expect(leader.held(wrong)).To(Succeed(), "its own refusal it knows better than what it wrote")
	g.Expect(follower.held(wrong)).To(MatchError("wrong password"))
	g.Expect(restarted.held(wrong)).To(MatchError("wrong password"), "a restart forgets nothing")
	corrected := auth.NewCredential("right")
	corrected.Version = "8"
	g.Expect(restarted.held(corrected)).To(Succeed())
	g.Expect(follower.held(corrected)).To(MatchError("wrong password"), "before the leader was accepted")
	follower.tell(status(true, nil))
	g.Expect(follower.held(corrected)).To(Succeed())

	clk.SetTime(clk.Now().Add(15 * time.Minute))
	g.Expect(restarted.held(wrong)).To(Succeed())

	// What was accepted before, others may offer as well: no soon second try.
	leader.accept(corrected)
	leader.tell(status(true, nil))
	leader.reject(corrected, refusal)
	clk.SetTime(clk.Now().Add(19 * time.Minute))
	g.Expect(leader.held(corrected)).To(MatchError("wrong password"))
	clk.SetTime(clk.Now().Add(time.Minute))
	g.Expect(leader.held(corrected)).To(Succeed())
}

func TestWhoeverAsksForALookHasACredentialOfferedThatLocksNoAccount(t *testing.T) {
	g := NewWithT(t)
	clk := clocktesting.NewFakePassiveClock(time.Now())
	refusal := &auth.RejectedError{Fault: fault.Waiting(v1alpha1.ReasonAuthFailed, "refused"), Counted: true}
	asked := func(value string) *v1alpha1.VaultConfig {
		config := status(true, nil)
		config.Annotations = map[string]string{v1alpha1.AnnotationRefresh: value}
		return config
	}
	for _, method := range []auth.Method{unlockable{}, lockable{}} {
		o := newOffers(newAccounts(clk), func() bool { return true }, "https://vault", method, "VaultConfig shop/prod")
		credential := auth.NewCredential("right by now")
		o.tell(asked("1"))
		o.reject(credential, refusal)
		o.tell(asked("1"))
		g.Expect(o.held(credential)).To(MatchError("refused"), "nobody asked")
		o.tell(asked("2"))
		if method.Account() == "" {
			g.Expect(o.held(credential)).To(Succeed())
		} else {
			g.Expect(o.held(credential)).To(MatchError("refused"), "it would be counted")
		}
	}
}
