package node

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/volume"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

func TestRefreshSwapsAllFilesAtOnce(t *testing.T) {
	n := newTestNode(t)
	n.resolver.setFiles(map[string]string{"type": "SQLORACLE", "user": "old", "password": "old"})
	n.g.Expect(n.publish()).To(Succeed())
	kept, err := os.Stat(filepath.Join(n.target(), "type"))
	n.g.Expect(err).NotTo(HaveOccurred())
	generation, err := os.Readlink(filepath.Join(n.target(), volume.DataLink))
	n.g.Expect(err).NotTo(HaveOccurred())

	n.resolver.setFiles(map[string]string{"type": "SQLORACLE", "password": "new", "port": "1521"})
	n.passTime(func(g Gomega) {
		g.Expect(n.files()).To(Equal(map[string]string{"type": "SQLORACLE", "password": "new", "port": "1521"}))
	})

	n.g.Expect(n.resolver.lastRequest().GetRevision()).To(Equal("r2"))
	n.resolver.mu.Lock()
	n.g.Expect(n.resolver.together).To(Equal(len(n.resolver.received)-1), "refreshes travel together, and no mount does")
	n.resolver.mu.Unlock()
	next, err := os.Readlink(filepath.Join(n.target(), volume.DataLink))
	n.g.Expect(err).NotTo(HaveOccurred())
	n.g.Expect(next).NotTo(Equal(generation))
	n.g.Eventually(func(g Gomega) {
		entries, failure := os.ReadDir(n.target())
		g.Expect(failure).NotTo(HaveOccurred())
		g.Expect(entries).To(HaveLen(5), "3 files, ..data and what it leads to; nothing of the last generation")
	}).Should(Succeed())
	same, err := os.Stat(filepath.Join(n.target(), "type"))
	n.g.Expect(err).NotTo(HaveOccurred())
	n.g.Expect(os.SameFile(kept, same)).To(BeTrue(), "a file that did not change keeps its inode")
	n.g.Expect(same.ModTime()).To(Equal(kept.ModTime()))
	n.passTime(func(g Gomega) {
		g.Expect(n.metric("sallyport_node_refreshes_total", v1alpha1.ReasonSucceeded)).To(BeNumerically(">=", 1))
		g.Expect(n.metric("sallyport_node_memory_used_bytes")).To(Equal(float64(n.size("password", "new", "type", "SQLORACLE", "port", "1521"))))
	})
}

func TestUnchangedContentIsNotRewritten(t *testing.T) {
	for _, test := range []struct {
		name string
		next func(*fakeResolver)
	}{
		{"the resolver says unchanged", func(*fakeResolver) {}},
		{"a new revision has the same content", func(r *fakeResolver) {
			r.setFiles(map[string]string{"type": "SQLORACLE", "password": secretContent})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newTestNode(t)
			n.g.Expect(n.publish()).To(Succeed())
			before, err := os.Stat(filepath.Join(n.target(), "password"))
			n.g.Expect(err).NotTo(HaveOccurred())
			generation, err := os.Readlink(filepath.Join(n.target(), volume.DataLink))
			n.g.Expect(err).NotTo(HaveOccurred())

			test.next(n.resolver)
			n.passTime(func(g Gomega) {
				g.Expect(n.metric("sallyport_node_refreshes_total", v1alpha1.ReasonSucceeded)).To(BeNumerically(">=", 2))
			})

			after, err := os.Stat(filepath.Join(n.target(), "password"))
			n.g.Expect(err).NotTo(HaveOccurred())
			n.g.Expect(os.SameFile(before, after)).To(BeTrue())
			n.g.Expect(after.ModTime()).To(Equal(before.ModTime()))
			n.g.Expect(os.Readlink(filepath.Join(n.target(), volume.DataLink))).To(Equal(generation))
			n.g.Expect(n.metric("sallyport_node_oldest_refresh_age_seconds")).To(BeNumerically("<=", 61))
		})
	}
}

func TestKeptFilesStayAsTheyAre(t *testing.T) {
	n := newTestNode(t)
	n.resolver.setFiles(map[string]string{"password": secretContent, "host": "one"})
	n.g.Expect(n.publish()).To(Succeed())
	before, err := os.Stat(filepath.Join(n.target(), "password"))
	n.g.Expect(err).NotTo(HaveOccurred())

	n.resolver.setKept("password")
	n.resolver.setFiles(map[string]string{"host": "two"})
	n.passTime(func(g Gomega) {
		g.Expect(n.files()).To(Equal(map[string]string{"password": secretContent, "host": "two"}))
	})
	after, err := os.Stat(filepath.Join(n.target(), "password"))
	n.g.Expect(err).NotTo(HaveOccurred())
	n.g.Expect(os.SameFile(before, after)).To(BeTrue())
	n.passTime(func(g Gomega) {
		g.Expect(n.metric("sallyport_node_memory_used_bytes")).To(Equal(float64(n.size("password", secretContent, "host", "two"))))
	})

	n.resolver.setKept("never-there")
	n.resolver.setFiles(map[string]string{"host": "three"})
	n.passTime(func(g Gomega) {
		g.Expect(n.files()).To(Equal(map[string]string{"host": "three"}), "all are asked for where one to keep is not there")
	})
}

func TestFailedRefreshKeepsTheLastGoodFiles(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	before := n.files()

	n.resolver.failWith(fault.Transient(v1alpha1.ReasonVaultSealed, "the Vault is sealed"))
	n.passTime(func(g Gomega) {
		g.Expect(n.metric("sallyport_node_refreshes_total", v1alpha1.ReasonVaultSealed)).To(BeNumerically(">=", 3))
	})
	n.g.Expect(n.files()).To(Equal(before))
	n.g.Expect(n.metric("sallyport_node_stale_volumes")).To(BeEquivalentTo(1))
	n.g.Expect(n.metric("sallyport_node_oldest_refresh_age_seconds")).To(BeNumerically(">", 60))
	n.g.Expect(n.logs.String()).To(ContainSubstring("the Vault is sealed"))

	n.resolver.failWith(nil)
	n.resolver.setFiles(map[string]string{"type": "new"})
	n.passTime(func(g Gomega) {
		g.Expect(n.files()).To(Equal(map[string]string{"type": "new"}))
		g.Expect(n.metric("sallyport_node_stale_volumes")).To(BeZero())
	})
}

func TestFailuresAreRetriedWithBackOff(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	n.resolver.failWith(fault.Transient(v1alpha1.ReasonNoResolver, "nobody"))
	started := n.clock.Now()

	n.passTimeBy(5*time.Second, func(g Gomega) { g.Expect(n.clock.Since(started)).To(BeNumerically(">", 50*time.Minute)) })

	n.g.Expect(n.resolver.requests()).To(And(BeNumerically(">=", 75), BeNumerically("<", 320)))
}

func TestRefreshNeedsATokenThatIsStillGood(t *testing.T) {
	n := newTestNode(t)
	n.resolver.refresh = (2 * time.Hour).Milliseconds()
	n.g.Expect(n.publish()).To(Succeed())
	started := n.clock.Now()

	n.passTimeBy(time.Minute, func(g Gomega) { g.Expect(n.clock.Since(started)).To(BeNumerically(">", 3*time.Hour)) })
	n.g.Expect(n.resolver.requests()).To(Equal(1), "the token expired before the refresh was due")
	n.g.Expect(n.files()).NotTo(BeEmpty())

	n.resolver.setFiles(map[string]string{"type": "new"})
	n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) { r.Secrets[keyTokens] = n.tokens("fresh") })).To(Succeed())
	n.passTime(func(g Gomega) { g.Expect(n.files()).To(Equal(map[string]string{"type": "new"})) })
	n.g.Expect(n.resolver.lastRequest().GetPodToken()).To(Equal("fresh"))
	n.g.Expect(n.resolver.lastRequest().GetWorkloadTokens()).To(Equal(map[string]string{"vault": "fresh for Vault"}))
}

func TestRestartRecoversVolumesAndRefreshesThemAtOnce(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	before := n.files()
	used := n.driver.budget.Used()

	n.restart()
	n.g.Expect(n.files()).To(Equal(before))
	n.g.Expect(n.metric("sallyport_node_volumes")).To(BeEquivalentTo(1))
	n.g.Expect(n.driver.budget.Used()).To(Equal(used))
	n.resolver.setFiles(map[string]string{"type": "new"})
	// The kubelet takes up to 90 to bring a token.
	n.within(20*time.Second, func(g Gomega) { g.Expect(n.files()).To(Equal(map[string]string{"type": "new"})) })
	request := n.resolver.lastRequest()
	n.g.Expect(request.GetRevision()).To(Equal("r1"), "the revision must survive the restart")
	n.g.Expect(request.GetPodToken()).To(Equal(secretToken))
	n.g.Expect(request.GetWorkloadTokens()).To(BeEmpty(), "tokens for Vault are in memory only")
	n.g.Expect(n.publish()).To(Succeed())
	n.resolver.setFiles(map[string]string{"type": "newer"})
	n.passTime(func(g Gomega) { g.Expect(n.files()).To(Equal(map[string]string{"type": "newer"})) })
	n.g.Expect(n.resolver.lastRequest().GetWorkloadTokens()).NotTo(BeEmpty())
}

func TestRestartGoesOnWithTheLastTokenThatTheKubeletBrought(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) { r.Secrets[keyTokens] = n.tokens("second") })).To(Succeed())
	n.resolver.setFiles(map[string]string{"type": "new"})
	n.passTime(func(g Gomega) { g.Expect(n.files()).To(Equal(map[string]string{"type": "new"})) })
	asked := n.resolver.requests()
	n.restart()
	n.passTime(func(g Gomega) { g.Expect(n.resolver.requests()).To(BeNumerically(">", asked)) })
	n.g.Expect(n.resolver.lastRequest().GetPodToken()).To(Equal("second"))
}

func TestRestartWaitsForATokenWhereTheFormerHasExpired(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	n.stop()
	asked := n.resolver.requests()
	n.clock.Step(time.Hour)
	n.start()
	n.resolver.setFiles(map[string]string{"type": "new"})
	n.clock.Step(10 * time.Minute)
	n.g.Consistently(n.resolver.requests, "50ms").Should(Equal(asked), "no token, no request")

	n.g.Expect(n.publish()).To(Succeed())
	n.within(time.Minute, func(g Gomega) { g.Expect(n.files()).To(Equal(map[string]string{"type": "new"})) })
}

func TestRestartOfTheMachineStartsAnew(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	n.stop()
	n.mounter.reboot()
	n.start()
	n.expectNoVolume()

	n.g.Expect(n.publish()).To(Succeed(), "the kubelet left the empty target path")
	n.g.Expect(n.files()).To(HaveLen(2))
}

func TestRestartClearsOrphansAway(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(*testNode)
	}{
		{"the target is no longer mounted", func(n *testNode) {
			n.g.Expect(n.mounter.Unmount(n.target(), false)).To(Succeed())
		}},
		{"the pod's directory is gone", func(n *testNode) {
			n.g.Expect(n.mounter.Unmount(n.target(), false)).To(Succeed())
			n.g.Expect(os.RemoveAll(filepath.Join(n.dir, "pods", "uid-1"))).To(Succeed())
		}},
		{"the volume is not complete", func(n *testNode) {
			dir := n.driver.store.Path(volumeID)
			current, err := volume.ReadState(dir)
			n.g.Expect(err).NotTo(HaveOccurred())
			current.Complete = false
			n.g.Expect(n.driver.store.WriteState(dir, current)).To(Succeed())
		}},
		{"the directory is another volume's", func(n *testNode) {
			dir := n.driver.store.Path(volumeID)
			current, err := volume.ReadState(dir)
			n.g.Expect(err).NotTo(HaveOccurred())
			current.VolumeID = "csi-other"
			n.g.Expect(n.driver.store.WriteState(dir, current)).To(Succeed())
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newTestNode(t)
			n.g.Expect(n.publish()).To(Succeed())
			test.damage(n)

			n.restart()

			n.expectNothingLeft()
			n.g.Expect(os.MkdirAll(filepath.Dir(n.target()), 0o750)).To(Succeed())
			n.g.Expect(n.publish()).To(Succeed())
			n.g.Expect(n.files()).To(HaveLen(2))
		})
	}
}

func TestRefreshThatOverflowsTheNodeKeepsTheFiles(t *testing.T) {
	n := newTestNode(t, func(n *testNode) { n.budget = 3 * n.size("password", secretContent, "type", "SQLORACLE") / 2 })
	n.g.Expect(n.publish()).To(Succeed())
	before := n.files()

	n.resolver.setFiles(map[string]string{"type": string(make([]byte, 50*os.Getpagesize()))})
	n.passTime(func(g Gomega) {
		g.Expect(n.metric("sallyport_node_refreshes_total", v1alpha1.ReasonNodeFull)).To(BeNumerically(">=", 1))
	})

	n.g.Expect(n.files()).To(Equal(before))
}

func TestUnpublishDuringARefresh(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	n.resolver.setFiles(map[string]string{"type": "new"})
	unblock := n.resolver.block()
	n.passTime(func(g Gomega) { g.Expect(n.resolver.requests()).To(Equal(2)) })

	n.g.Expect(n.unpublish()).To(Succeed(), "a slow resolver must not hold up the end of a pod")
	unblock()

	n.stop()
	n.expectNothingLeft()
}

func TestAHangingVaultOfOneNamespaceDelaysNoOther(t *testing.T) {
	n := newTestNode(t)
	hangs := make(chan struct{})
	for i := range 10 {
		for j := range 10 {
			n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) {
				r.VolumeId, r.TargetPath = fmt.Sprintf("csi-%d-%d", i, j), fmt.Sprintf("%s%d-%d", r.TargetPath, i, j)
				r.VolumeContext[keyPodNamespace], r.VolumeContext[keyPodUID] = "hostile", fmt.Sprint(i)
			})).To(Succeed())
		}
	}
	n.g.Expect(n.publish()).To(Succeed())
	n.resolver.setHanging(func(r *resolverv1.ResolveRequest) bool { return r.GetVolumeId() != volumeID }, hangs)
	defer close(hangs)

	for i := range 3 {
		n.resolver.setFiles(map[string]string{"type": fmt.Sprint(i)})
		n.within(65*time.Second, func(g Gomega) { // its interval and a little more
			g.Expect(n.files()).To(Equal(map[string]string{"type": fmt.Sprint(i)}))
		})
	}
	n.g.Expect(n.publish(func(r *csi.NodePublishVolumeRequest) {
		r.VolumeId, r.TargetPath = "csi-3f2a-2", r.TargetPath+"-2"
		n.resolver.setHanging(nil, nil)
	})).To(Succeed())
}

func TestAPanicOfOneRefreshIsAFailureOfThatVolume(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	n.resolver.setHanging(func(*resolverv1.ResolveRequest) bool { panic(secretContent) }, nil)
	n.passTime(func(g Gomega) {
		g.Expect(n.metric("sallyport_node_refreshes_total", v1alpha1.ReasonInternal)).To(BeNumerically(">=", 1))
	})
	other := func(r *csi.NodePublishVolumeRequest) { r.VolumeId, r.TargetPath = "csi-other", r.TargetPath+"2" }
	n.g.Expect(n.publish(other)).To(MatchError(ContainSubstring("Internal")))
	n.resolver.setHanging(nil, nil)
	n.g.Expect(n.publish(other)).To(Succeed())
	n.g.Expect(n.logs.String()).To(ContainSubstring("refresh_test.go"))
	n.g.Expect(n.logs.String()).NotTo(ContainSubstring(secretContent))
}

func TestARefreshShowsTheLastGrantThatTheResolverGave(t *testing.T) {
	n := newTestNode(t)
	n.resolver.setGrant("grant-one")
	n.g.Expect(n.publish()).To(Succeed())
	n.g.Expect(n.resolver.lastRequest().GetGrant()).To(BeEmpty(), "there was none")
	refreshed := func() {
		t.Helper()
		before := n.resolver.requests()
		n.passTime(func(g Gomega) { g.Expect(n.resolver.requests()).To(BeNumerically(">", before)) })
	}
	n.resolver.setGrant("")
	for range 3 {
		refreshed()
		n.g.Expect(string(n.resolver.lastRequest().GetGrant())).To(Equal("grant-one"), "no other came")
		n.g.Expect(n.resolver.lastRequest().GetPodToken()).To(Equal(secretToken), "for a resolver that takes no grant")
	}
	n.resolver.setGrant("grant-two")
	n.passTime(func(g Gomega) { g.Expect(string(n.resolver.lastRequest().GetGrant())).To(Equal("grant-two")) })

	n.resolver.setGrant("")
	n.restart()
	refreshed()
	n.g.Expect(n.resolver.lastRequest().GetGrant()).To(BeEmpty(), "it lives in memory only")
	n.g.Expect(n.logs.String()).NotTo(ContainSubstring("grant-"))
}
