package node

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/volume"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

var errNoResolver = fault.Transient(v1alpha1.ReasonNoResolver, "no resolver answers")

// withLeases has the Connection come with leases.
func withLeases(n *testNode) { n.resolver.issuesLeases = true }

// failingRevocations has every resolver refuse to revoke.
func failingRevocations(n *testNode) { n.resolver.revokeError = errNoResolver }

// leasesOnNode returns the leases beside volumes, and those that wait to be revoked, as they lie on the node.
func (n *testNode) leasesOnNode() (beside, waiting string) {
	n.t.Helper()
	directories, err := os.ReadDir(n.driver.config.volumesDir())
	n.g.Expect(err).NotTo(HaveOccurred())
	for _, directory := range directories {
		current, failure := volume.ReadState(filepath.Join(n.driver.config.volumesDir(), directory.Name()))
		n.g.Expect(failure).NotTo(HaveOccurred())
		if current.Complete {
			beside += string(current.Leases)
		}
	}
	entries, err := os.ReadDir(n.driver.config.spoolDir())
	n.g.Expect(err).NotTo(HaveOccurred())
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(n.driver.config.spoolDir(), entry.Name()))
		n.g.Expect(err).NotTo(HaveOccurred())
		waiting += string(leasesIn(content))
	}
	return beside, waiting
}

// leasesIn returns what a state or a file of the spool has.
func leasesIn(content []byte) volume.EncryptedLeases {
	var holder struct{ Leases volume.EncryptedLeases }
	_ = json.Unmarshal(content, &holder)
	return holder.Leases
}

// wasWritten tells whether the lease ever was in a file as a whole.
func (n *testNode) wasWritten(lease string) bool {
	n.steps.mu.Lock()
	defer n.steps.mu.Unlock()
	return slices.ContainsFunc(n.steps.contents, func(content []byte) bool { return strings.Contains(string(leasesIn(content)), lease) })
}

// expectNoLeaseLost checks that every lease is beside its volume, waits to be revoked, was revoked, or never reached
// the node's memory.
func (n *testNode) expectNoLeaseLost() {
	n.t.Helper()
	beside, waiting := n.leasesOnNode()
	issued, revoked := n.resolver.leases()
	for _, lease := range issued {
		if n.wasWritten(lease) {
			n.g.Expect(beside+waiting+revoked).To(ContainSubstring(lease), "lost")
		}
	}
}

// expectAllRevoked checks that nothing of what was written is left once resolvers answer.
func (n *testNode) expectAllRevoked() {
	n.t.Helper()
	n.resolver.setRevokeError(nil)
	n.passTime(func(g Gomega) { g.Expect(n.metric("sallyport_node_waiting_releases")).To(BeZero()) })
	issued, revoked := n.resolver.leases()
	for _, lease := range issued {
		if n.wasWritten(lease) {
			n.g.Expect(revoked).To(ContainSubstring(lease))
		}
	}
	beside, waiting := n.leasesOnNode()
	n.g.Expect(beside + waiting).To(BeEmpty())
}

func TestEveryRequestHasTheLeasesOfTheLastResponse(t *testing.T) {
	n := newTestNode(t, withLeases)
	n.g.Expect(n.publish()).To(Succeed())
	n.g.Expect(n.resolver.lastRequest().GetLeases()).To(BeEmpty())
	beside, _ := n.leasesOnNode()
	n.g.Expect(beside).To(Equal(secretLease + "-1;"))

	asked := n.resolver.requests()
	n.passTime(func(g Gomega) { g.Expect(n.resolver.requests()).To(BeNumerically(">", asked)) })
	n.g.Expect(string(n.resolver.lastRequest().GetLeases())).To(Equal(secretLease + "-1;"))

	n.resolver.setFiles(map[string]string{"type": "new"})
	n.passTime(func(g Gomega) { g.Expect(isFresh(n.driver.volumes.Get(volumeID))).To(BeTrue()) })
	beside, _ = n.leasesOnNode()
	n.g.Expect(beside).To(Equal(secretLease + "-1;" + secretLease + "-2;"))
	n.restart()
	n.g.Expect(n.publish()).To(Succeed())
	asked = n.resolver.requests()
	n.passTime(func(g Gomega) { g.Expect(n.resolver.requests()).To(BeNumerically(">", asked)) })
	n.g.Expect(string(n.resolver.lastRequest().GetLeases())).To(Equal(beside), "they must survive the restart")

	n.resolver.mu.Lock()
	n.resolver.response = &resolverv1.ResolveResponse{Revision: "r2", Unchanged: true, RefreshAfterMs: 1000}
	n.resolver.mu.Unlock()
	n.passTime(func(g Gomega) {
		beside, _ := n.leasesOnNode()
		g.Expect(beside).To(BeEmpty(), "a response without leases means that the volume has none")
	})
	n.g.Expect(n.unpublish()).To(Succeed())
	_, revoked := n.resolver.leases()
	n.g.Expect(revoked).To(BeEmpty())
}

func TestLeasesCostNoWriteWhileFilesStayAsTheyAre(t *testing.T) {
	refresh := func(options ...func(*testNode)) []string {
		n := newTestNode(t, options...)
		n.g.Expect(n.publish()).To(Succeed())
		n.steps.reset()
		n.passTime(func(g Gomega) {
			g.Expect(n.metric("sallyport_node_refreshes_total", v1alpha1.ReasonSucceeded)).To(BeEquivalentTo(1))
		})
		var names []string
		for _, step := range n.steps.log {
			names = append(names, strings.ReplaceAll(step, n.dir, ""))
		}
		return names
	}
	NewWithT(t).Expect(refresh(withLeases)).To(Equal(refresh()))
}

func TestLeasesAreRecordedBeforeFilesChange(t *testing.T) {
	n := newTestNode(t, withLeases)
	n.g.Expect(n.publish()).To(Succeed())
	n.steps.reset()
	n.steps.contents = nil
	n.resolver.setFiles(map[string]string{"type": "new"})
	n.passTime(func(g Gomega) { g.Expect(isFresh(n.driver.volumes.Get(volumeID))).To(BeTrue()) })

	n.g.Expect(filepath.Base(n.steps.log[1])).To(Equal(volume.StateFile), "before all else")
	n.g.Expect(string(leasesIn(n.steps.contents[0]))).To(ContainSubstring(secretLease + "-2;"))
	var first volume.State
	n.g.Expect(json.Unmarshal(n.steps.contents[0], &first)).To(Succeed())
	n.g.Expect(first.Revision).To(Equal("r1"), "the files are still the old ones")
}

func TestNoLeaseIsLostWhereverThePluginIsKilled(t *testing.T) {
	refreshes := func(n *testNode) {
		n.resolver.setFiles(map[string]string{"type": "new", "user": "scott"})
		n.passTime(func(g Gomega) {
			g.Expect(isFresh(n.driver.volumes.Get(volumeID)) || n.steps.isDead()).To(BeTrue())
		})
	}
	arranged := func(arrange func(*testNode)) func(*testNode) {
		return func(n *testNode) {
			withLeases(n)
			failingRevocations(n)
			arrange(n)
		}
	}
	for _, test := range []struct {
		name         string
		arrange, act func(*testNode)
	}{
		{"publish", arranged(nothing), publishes},
		{"a publish over what an unpublish left", arranged(func(n *testNode) {
			published(n)
			n.steps.failAtStep(3) // with the pod's mount gone and the volume's still there
			n.g.Expect(n.unpublish()).NotTo(Succeed())
		}), publishes},
		{"refresh", arranged(published), refreshes},
		{"unpublish", arranged(published), unpublishes},
	} {
		t.Run(test.name, func(t *testing.T) {
			atEveryStep(t, test.arrange, test.act, func(n *testNode, step int) {
				n.steps.killAfterStep(step)
				test.act(n)
				n.g.Expect(n.steps.isDead()).To(BeTrue())

				n.restart()
				n.expectNoLeaseLost()
				n.g.Expect(n.unpublish()).To(Succeed())
				n.expectNothingLeft()
				n.expectNoLeaseLost()
				n.expectAllRevoked()
			})
		})
	}
}

func TestNoLeaseIsLostWhateverFails(t *testing.T) {
	arrange := func(n *testNode) { withLeases(n); published(n) }
	refreshes := func(n *testNode) {
		n.resolver.setFiles(map[string]string{"type": "new", "user": "scott"})
		n.passTime(func(g Gomega) { g.Expect(isFresh(n.driver.volumes.Get(volumeID))).To(BeTrue()) })
	}
	t.Run("refresh", func(t *testing.T) {
		atEveryStep(t, arrange, refreshes, func(n *testNode, step int) {
			n.steps.failAtStep(step)
			refreshes(n)
			n.g.Expect(n.unpublish()).To(Succeed())
			n.expectNothingLeft()
			n.expectAllRevoked()
			issued, revoked := n.resolver.leases()
			for _, lease := range issued {
				n.g.Expect(revoked).To(ContainSubstring(lease), "no process was killed, so each was known")
			}
		})
	})
	t.Run("publish", func(t *testing.T) {
		atEveryStep(t, withLeases, publishes, func(n *testNode, step int) {
			n.steps.failAtStep(step)
			n.g.Expect(n.publish()).NotTo(Succeed())
			n.expectNothingLeft()
			n.passTime(func(g Gomega) {
				issued, revoked := n.resolver.leases()
				g.Expect(revoked).To(Equal(strings.Join(issued, "")))
			})
		})
	})
}

func TestAFailedPublishRevokesTheLeasesIssuedForIt(t *testing.T) {
	for _, test := range []struct {
		name     string
		response *resolverv1.ResolveResponse
		option   func(*testNode)
	}{
		{name: "a file that cannot be", response: responseWith("../../etc/passwd"), option: nothing},
		{name: "a node that is full", response: responseWith("a"), option: func(n *testNode) { n.budget = 4 * (n.size() + 10) / 3 }},
		{name: "the pod is gone", response: responseWith("a"), option: func(n *testNode) {
			n.g.Expect(os.RemoveAll(filepath.Dir(n.target()))).To(Succeed())
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newTestNode(t, test.option)
			test.response.Leases = []byte(secretLease)
			n.resolver.response = test.response

			n.g.Expect(n.publish()).NotTo(Succeed())

			n.g.Eventually(func() string { _, revoked := n.resolver.leases(); return revoked }).Should(Equal(secretLease))
			n.expectNothingLeft()
		})
	}
}

func TestLeasesInAResponseForAVolumeThatIsGoneAreRevoked(t *testing.T) {
	n := newTestNode(t, withLeases)
	n.g.Expect(n.publish()).To(Succeed())
	n.resolver.setFiles(map[string]string{"type": "new"})
	unblock := n.resolver.block()
	n.passTime(func(g Gomega) { g.Expect(n.resolver.requests()).To(Equal(2)) })
	n.g.Expect(n.unpublish()).To(Succeed())

	unblock()

	n.g.Eventually(func() string { _, revoked := n.resolver.leases(); return revoked }).Should(ContainSubstring(secretLease + "-2;"))
	n.expectNothingLeft()
}

func TestAResponseThatComesWhileThePluginStopsIsKept(t *testing.T) {
	n := newTestNode(t, withLeases)
	n.g.Expect(n.publish()).To(Succeed())
	n.resolver.setFiles(map[string]string{"type": "new"})
	n.resolver.ignoresCancel = true
	unblock := n.resolver.block()
	n.passTime(func(g Gomega) { g.Expect(n.resolver.requests()).To(Equal(2)) })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		n.stop()
	}()
	n.g.Eventually(n.logs.String).Should(ContainSubstring(messageStopping))

	unblock()

	n.g.Eventually(stopped).Should(BeClosed())
	current, err := volume.ReadState(n.driver.store.Path(volumeID))
	n.g.Expect(err).NotTo(HaveOccurred())
	n.g.Expect(string(current.Leases)).To(ContainSubstring(secretLease + "-2;"))
}

func TestTheRestartOfTheMachineLosesNoMoreThanLeasesThatRunOut(t *testing.T) {
	n := newTestNode(t, withLeases, failingRevocations)
	n.g.Expect(n.publish()).To(Succeed())
	n.g.Expect(n.unpublish()).To(Succeed())
	n.stop()
	n.mounter.reboot()
	n.start()
	n.g.Expect(n.metric("sallyport_node_waiting_releases")).To(BeZero())
	n.g.Expect(n.publish()).To(Succeed())
	n.g.Expect(n.unpublish()).To(Succeed())
	n.g.Expect(n.metric("sallyport_node_waiting_releases")).To(BeEquivalentTo(1))
}

func TestLeasesCountAsTheVolumesMemory(t *testing.T) {
	n := newTestNode(t)
	response := responseWith("a")
	response.Leases = make([]byte, os.Getpagesize())
	n.resolver.response = response
	n.g.Expect(n.publish()).To(Succeed())
	used := n.driver.budget.Used()
	n.g.Expect(used).To(Equal(n.size("a", "x")+3*int64(os.Getpagesize())), "two pages of leases as text, and one in memory")

	n.restart()
	n.g.Expect(n.driver.budget.Used()).To(Equal(used))
	n.resolver.mu.Lock()
	n.resolver.response = responseWith("a")
	n.resolver.mu.Unlock()
	n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) { r.Secrets[keyTokens] = n.tokens("fresh") })).To(Succeed())
	n.passTime(func(g Gomega) { g.Expect(n.driver.budget.Used()).To(Equal(n.size("a", "x"))) })
	n.g.Expect(n.unpublish()).To(Succeed())
	n.expectNothingLeft()
}
