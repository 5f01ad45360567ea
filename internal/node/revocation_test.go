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

func TestLeasesAreRevokedWhenTheVolumeIsGone(t *testing.T) {
	n := newTestNode(t, withLeases)
	n.g.Expect(n.publish()).To(Succeed())
	_, revoked := n.resolver.leases()
	n.g.Expect(revoked).To(BeEmpty())

	n.g.Expect(n.unpublish()).To(Succeed())

	// The clock stands still: nothing waits where a resolver answers.
	n.g.Eventually(func() float64 { return n.metric("sallyport_node_releases_total", v1alpha1.ReasonSucceeded) }).Should(BeEquivalentTo(1))
	n.expectAllRevoked()
	n.expectNothingLeft()
	n.g.Expect(n.mounter.tmpfs[n.driver.config.spoolDir()]).To(And(
		HaveField("Private", BeTrue()), HaveField("Size", BeEquivalentTo(revocation.SpoolSize)), HaveField("Inodes", BeNumerically(">", 0))))

	n.stop()
	n.g.Expect(n.mounter.count("")).To(BeZero(), "a plugin that stops with nothing to do leaves no mount")
}

func TestUnpublishNeedsNoResolver(t *testing.T) {
	n := newTestNode(t, withLeases, failingRevocations)
	n.g.Expect(n.publish()).To(Succeed())
	n.g.Expect(n.unpublish()).To(Succeed())
	n.expectNothingLeft()
	n.g.Expect(n.unpublish()).To(Succeed())
	n.g.Expect(n.metric("sallyport_node_waiting_releases")).To(BeEquivalentTo(1), "once, however often the kubelet asks")
	started := n.clock.Now()
	n.passTimeBy(5*time.Second, func(g Gomega) { g.Expect(n.clock.Since(started)).To(BeNumerically(">", 50*time.Minute)) })
	n.g.Expect(n.metric("sallyport_node_releases_total", v1alpha1.ReasonNoResolver)).To(And(BeNumerically(">=", 7), BeNumerically("<", 25)))

	n.restart()
	n.g.Expect(n.metric("sallyport_node_waiting_releases")).To(BeEquivalentTo(1))
	n.passTime(func(g Gomega) {
		g.Expect(n.metric("sallyport_node_releases_total", v1alpha1.ReasonNoResolver)).To(BeNumerically(">=", 1))
	})

	n.expectAllRevoked()
	n.g.Expect(n.logs.String()).To(ContainSubstring(`"Leases given back" "pod"="shop/shop-0"`))
}

func TestWhatAFailedRevocationMeans(t *testing.T) {
	for _, test := range []struct {
		failure error
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
		t.Run(test.failure.Error(), func(t *testing.T) {
			n := newTestNode(t, withLeases)
			n.g.Expect(n.publish()).To(Succeed())
			n.resolver.setRevokeError(test.failure)
			n.g.Expect(n.unpublish()).To(Succeed())
			if test.kept {
				n.passTime(func(g Gomega) {
					g.Expect(n.metric("sallyport_node_releases_total", outcome(test.failure))).To(BeNumerically(">=", 2))
				})
				n.expectAllRevoked()
				return
			}
			n.g.Eventually(func() float64 { return n.metric("sallyport_node_waiting_releases") }).Should(BeZero())
			n.g.Expect(n.logs.String()).To(And(ContainSubstring("Leases not given back, they run out"), ContainSubstring(test.failure.Error())))
			_, waiting := n.leasesOnNode()
			n.g.Expect(waiting).To(BeEmpty())
			n.g.Expect(n.metric("sallyport_node_releases_total", outcome(test.failure))).To(BeEquivalentTo(1))
		})
	}
}

func TestLeasesThatCannotBeSpooledAreHeldInMemory(t *testing.T) {
	n := newTestNode(t, withLeases, failingRevocations)
	n.g.Expect(n.publish()).To(Succeed())
	n.steps.failAtStep(1)

	n.g.Expect(n.unpublish()).To(Succeed())

	n.expectNothingLeft()
	n.g.Expect(n.steps.log[0]).To(ContainSubstring("/releases/"))
	n.g.Expect(n.logs.String()).To(ContainSubstring("Leases to give back are held in memory only"))
	n.passTime(func(g Gomega) {
		_, waiting := n.leasesOnNode()
		g.Expect(waiting).To(Equal(secretLease+"-1;"), "stored at the next try")
	})
	n.expectAllRevoked()
}

func TestAHalfWrittenSpoolFileIsRemovedAtTheStart(t *testing.T) {
	n := newTestNode(t, withLeases, failingRevocations)
	n.g.Expect(n.publish()).To(Succeed())
	n.g.Expect(n.unpublish()).To(Succeed())
	half := filepath.Join(n.driver.config.spoolDir(), "half")
	n.g.Expect(os.WriteFile(half, []byte(`{"pod":{},"leases":"Y2Fu`), 0o600)).To(Succeed())

	n.restart()

	n.g.Expect(half).NotTo(BeAnExistingFile())
	n.g.Expect(n.logs.String()).To(ContainSubstring("Leases to give back not understood"))
	n.g.Expect(n.metric("sallyport_node_waiting_releases")).To(BeEquivalentTo(1))
	n.expectAllRevoked()
}

func TestAStateThatCannotBeReadKeepsNoVolume(t *testing.T) {
	n := newTestNode(t, withLeases)
	n.g.Expect(n.publish()).To(Succeed())
	n.g.Expect(os.WriteFile(filepath.Join(n.driver.store.Path(volumeID), volume.StateFile), []byte("{"), 0o600)).To(Succeed())

	n.g.Expect(n.unpublish()).To(Succeed())

	n.expectNothingLeft()
	n.expectAllRevoked()
}

func TestLeasesPrintAsNothing(t *testing.T) {
	n := newTestNode(t, withLeases, failingRevocations)
	n.g.Expect(n.publish()).To(Succeed())
	v := n.driver.volumes.Get(volumeID)
	current, _ := v.Snapshot()
	raw := fmt.Sprintf("%d", []byte(secretLease))
	bare := raw[1 : len(raw)-1]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{current.Leases, current, &current, v} {
			n.g.Expect(fmt.Sprintf(verb, value)).NotTo(Or(
				ContainSubstring(secretLease), ContainSubstring(bare), ContainSubstring(fmt.Sprintf("%x", secretLease)),
				ContainSubstring(fmt.Sprintf("%#v", []byte(secretLease))), ContainSubstring(secretToken)), verb)
		}
	}
	n.g.Expect(current.Leases.GoString()).To(Equal("[leases]"))
	n.g.Expect(current.Leases.MarshalLog()).To(Equal("[leases]"))
}
