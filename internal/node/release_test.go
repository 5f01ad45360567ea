package node

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/revocation"
	"sallyport.dev/sallyport/internal/node/volume"
)

func TestLeasesAreGivenBackWhenTheVolumeIsGone(t *testing.T) {
	m := newMachine(t, leased)
	m.g.Expect(m.publish()).To(Succeed())
	_, released := m.resolver.leases()
	m.g.Expect(released).To(BeEmpty())

	m.g.Expect(m.unpublish()).To(Succeed())

	// The clock stands still: nothing waits where a resolver answers.
	m.g.Eventually(func() float64 { return m.metric("sallyport_node_releases_total", v1alpha1.ReasonSucceeded) }).Should(BeEquivalentTo(1))
	m.expectAllGivenBack()
	m.expectNothingLeft()
	m.g.Expect(m.mounter.tmpfs[m.driver.config.spoolDir()]).To(And(
		HaveField("Private", BeTrue()), HaveField("Size", BeEquivalentTo(revocation.SpoolSize)), HaveField("Inodes", BeNumerically(">", 0))))

	m.stop()
	m.g.Expect(m.mounter.count("")).To(BeZero(), "a plugin that stops with nothing to do leaves no mount")
}

func TestUnpublishNeedsNoResolver(t *testing.T) {
	m := newMachine(t, leased, unreachable)
	m.g.Expect(m.publish()).To(Succeed())
	m.g.Expect(m.unpublish()).To(Succeed())
	m.expectNothingLeft()
	m.g.Expect(m.unpublish()).To(Succeed())
	m.g.Expect(m.metric("sallyport_node_waiting_releases")).To(BeEquivalentTo(1), "once, however often the kubelet asks")
	started := m.clock.Now()
	m.passTimeBy(5*time.Second, func(g Gomega) { g.Expect(m.clock.Since(started)).To(BeNumerically(">", 50*time.Minute)) })
	m.g.Expect(m.metric("sallyport_node_releases_total", v1alpha1.ReasonNoResolver)).To(And(BeNumerically(">=", 7), BeNumerically("<", 25)))

	m.restart()
	m.g.Expect(m.metric("sallyport_node_waiting_releases")).To(BeEquivalentTo(1))
	m.passTime(func(g Gomega) {
		g.Expect(m.metric("sallyport_node_releases_total", v1alpha1.ReasonNoResolver)).To(BeNumerically(">=", 1))
	})

	m.expectAllGivenBack()
	m.g.Expect(m.logs.String()).To(ContainSubstring(`"Leases given back" "pod"="shop/shop-0"`))
}

func TestWhatARefusedReleaseMeans(t *testing.T) {
	for _, test := range []struct {
		refusal error
		kept    bool
	}{
		{fault.Transient(v1alpha1.ReasonNoResolver, "nobody"), true},
		{fault.Transient(v1alpha1.ReasonVaultSealed, "sealed"), true},
		{fault.Waiting(v1alpha1.ReasonPermissionDenied, "403"), true},
		{fault.Waiting(v1alpha1.ReasonNotAllowed, "who are you?"), true},
		{fmt.Errorf("broken"), true},
		{fault.Waiting(v1alpha1.ReasonConfigNotFound, "the VaultConfig is gone"), false},
		{fault.Terminal(v1alpha1.ReasonInvalidRequest, "the key is gone"), false},
	} {
		t.Run(test.refusal.Error(), func(t *testing.T) {
			m := newMachine(t, leased)
			m.g.Expect(m.publish()).To(Succeed())
			m.resolver.setAway(test.refusal)
			m.g.Expect(m.unpublish()).To(Succeed())
			if test.kept {
				m.passTime(func(g Gomega) {
					g.Expect(m.metric("sallyport_node_releases_total", outcome(test.refusal))).To(BeNumerically(">=", 2))
				})
				m.expectAllGivenBack()
				return
			}
			m.g.Eventually(func() float64 { return m.metric("sallyport_node_waiting_releases") }).Should(BeZero())
			m.g.Expect(m.logs.String()).To(And(ContainSubstring("Leases not given back, they run out"), ContainSubstring(test.refusal.Error())))
			_, waiting := m.kept()
			m.g.Expect(waiting).To(BeEmpty())
			m.g.Expect(m.metric("sallyport_node_releases_total", outcome(test.refusal))).To(BeEquivalentTo(1))
		})
	}
}

func TestAReleaseThatCannotBeStoredIsHeldInMemory(t *testing.T) {
	m := newMachine(t, leased, unreachable)
	m.g.Expect(m.publish()).To(Succeed())
	m.steps.arm(1, 0)

	m.g.Expect(m.unpublish()).To(Succeed())

	m.expectNothingLeft()
	m.g.Expect(m.steps.log[0]).To(ContainSubstring("/releases/"))
	m.g.Expect(m.logs.String()).To(ContainSubstring("Leases to give back are held in memory only"))
	m.passTime(func(g Gomega) {
		_, waiting := m.kept()
		g.Expect(waiting).To(Equal(secretLease+"-1;"), "stored at the next try")
	})
	m.expectAllGivenBack()
}

func TestAHalfWrittenReleaseIsRemovedAtTheStart(t *testing.T) {
	m := newMachine(t, leased, unreachable)
	m.g.Expect(m.publish()).To(Succeed())
	m.g.Expect(m.unpublish()).To(Succeed())
	half := filepath.Join(m.driver.config.spoolDir(), "half")
	m.g.Expect(os.WriteFile(half, []byte(`{"pod":{},"leases":"Y2Fu`), 0o600)).To(Succeed())

	m.restart()

	m.g.Expect(half).NotTo(BeAnExistingFile())
	m.g.Expect(m.logs.String()).To(ContainSubstring("Leases to give back not understood"))
	m.g.Expect(m.metric("sallyport_node_waiting_releases")).To(BeEquivalentTo(1))
	m.expectAllGivenBack()
}

func TestAStateThatCannotBeReadKeepsNoVolume(t *testing.T) {
	m := newMachine(t, leased)
	m.g.Expect(m.publish()).To(Succeed())
	m.g.Expect(os.WriteFile(filepath.Join(m.driver.store.Path(volumeID), volume.StateFile), []byte("{"), 0o600)).To(Succeed())

	m.g.Expect(m.unpublish()).To(Succeed())

	m.expectNothingLeft()
	m.expectAllGivenBack()
}

func TestLeasesPrintAsNothing(t *testing.T) {
	m := newMachine(t, leased, unreachable)
	m.g.Expect(m.publish()).To(Succeed())
	v := m.driver.volumes.Get(volumeID)
	current, _ := v.Snapshot()
	raw := fmt.Sprintf("%d", []byte(secretLease))
	bare := raw[1 : len(raw)-1]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{current.Leases, current, &current, v} {
			m.g.Expect(fmt.Sprintf(verb, value)).NotTo(Or(
				ContainSubstring(secretLease), ContainSubstring(bare), ContainSubstring(fmt.Sprintf("%x", secretLease)),
				ContainSubstring(fmt.Sprintf("%#v", []byte(secretLease))), ContainSubstring(secretToken)), verb)
		}
	}
	m.g.Expect(current.Leases.GoString()).To(Equal("[leases]"))
	m.g.Expect(current.Leases.MarshalLog()).To(Equal("[leases]"))
}
