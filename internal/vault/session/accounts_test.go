package session

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"
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
