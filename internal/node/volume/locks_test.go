package volume

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
)

func TestOneHolderAtATimeAndNoLockIsLeft(t *testing.T) {
	locks := NewLocks()
	var holders atomic.Int32
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			unlock, err := locks.Lock(t.Context(), "csi-1")
			if err != nil {
				t.Error(err)
				return
			}
			if holders.Add(1) != 1 {
				t.Error("held twice")
			}
			holders.Add(-1)
			unlock()
		})
	}
	calls.Wait()
	NewWithT(t).Expect(locks.locks).To(BeEmpty())
}

func TestAWaitForALockEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	locks := NewLocks()
	unlock, err := locks.Lock(t.Context(), "csi-1")
	g.Expect(err).NotTo(HaveOccurred())
	given, giveUp := context.WithCancel(t.Context())
	giveUp()
	_, err = locks.Lock(given, "csi-1")
	g.Expect(err).To(MatchError(context.Canceled))
	other, err := locks.Lock(t.Context(), "csi-2")
	g.Expect(err).NotTo(HaveOccurred(), "another volume's lock is free")
	other()
	unlock()
	g.Expect(locks.locks).To(BeEmpty())
}
