package node

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/volume"
)

func TestRefreshSwapsAllFilesAtOnce(t *testing.T) {
	m := newMachine(t)
	m.resolver.set(map[string]string{"type": "SQLORACLE", "user": "old", "password": "old"})
	m.g.Expect(m.publish()).To(Succeed())
	kept, err := os.Stat(filepath.Join(m.target(), "type"))
	m.g.Expect(err).NotTo(HaveOccurred())
	generation, err := os.Readlink(filepath.Join(m.target(), volume.DataLink))
	m.g.Expect(err).NotTo(HaveOccurred())

	m.resolver.set(map[string]string{"type": "SQLORACLE", "password": "new", "port": "1521"})
	m.passTime(func(g Gomega) {
		g.Expect(m.files()).To(Equal(map[string]string{"type": "SQLORACLE", "password": "new", "port": "1521"}))
	})

	m.g.Expect(m.resolver.last().GetRevision()).To(Equal("r2"))
	next, err := os.Readlink(filepath.Join(m.target(), volume.DataLink))
	m.g.Expect(err).NotTo(HaveOccurred())
	m.g.Expect(next).NotTo(Equal(generation))
	m.g.Eventually(func(g Gomega) {
		entries, failure := os.ReadDir(m.target())
		g.Expect(failure).NotTo(HaveOccurred())
		g.Expect(entries).To(HaveLen(5), "3 files, ..data and what it leads to; nothing of the last generation")
	}).Should(Succeed())
	same, err := os.Stat(filepath.Join(m.target(), "type"))
	m.g.Expect(err).NotTo(HaveOccurred())
	m.g.Expect(os.SameFile(kept, same)).To(BeTrue(), "a file that did not change keeps its inode")
	m.g.Expect(same.ModTime()).To(Equal(kept.ModTime()))
	m.passTime(func(g Gomega) {
		g.Expect(m.metric("sallyport_node_refreshes_total", v1alpha1.ReasonSucceeded)).To(BeNumerically(">=", 1))
		g.Expect(m.metric("sallyport_node_memory_used_bytes")).To(BeEquivalentTo(4 * os.Getpagesize()))
	})
}

func TestUnchangedContentIsNotRewritten(t *testing.T) {
	for _, test := range []struct {
		name string
		next func(*fakeResolver)
	}{
		{"the resolver says unchanged", func(*fakeResolver) {}},
		{"a new revision has the same content", func(r *fakeResolver) {
			r.set(map[string]string{"type": "SQLORACLE", "password": secretContent})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.g.Expect(m.publish()).To(Succeed())
			before, err := os.Stat(filepath.Join(m.target(), "password"))
			m.g.Expect(err).NotTo(HaveOccurred())
			generation, err := os.Readlink(filepath.Join(m.target(), volume.DataLink))
			m.g.Expect(err).NotTo(HaveOccurred())

			test.next(m.resolver)
			m.passTime(func(g Gomega) {
				g.Expect(m.metric("sallyport_node_refreshes_total", v1alpha1.ReasonSucceeded)).To(BeNumerically(">=", 2))
			})

			after, err := os.Stat(filepath.Join(m.target(), "password"))
			m.g.Expect(err).NotTo(HaveOccurred())
			m.g.Expect(os.SameFile(before, after)).To(BeTrue())
			m.g.Expect(after.ModTime()).To(Equal(before.ModTime()))
			m.g.Expect(os.Readlink(filepath.Join(m.target(), volume.DataLink))).To(Equal(generation))
			m.g.Expect(m.metric("sallyport_node_oldest_refresh_age_seconds")).To(BeNumerically("<=", 61))
		})
	}
}

func TestFailedRefreshKeepsTheLastGoodFiles(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())
	before := m.files()

	m.resolver.fail(fault.Transient(v1alpha1.ReasonVaultSealed, "the Vault is sealed"))
	m.passTime(func(g Gomega) {
		g.Expect(m.metric("sallyport_node_refreshes_total", v1alpha1.ReasonVaultSealed)).To(BeNumerically(">=", 3))
	})
	m.g.Expect(m.files()).To(Equal(before))
	m.g.Expect(m.metric("sallyport_node_stale_volumes")).To(BeEquivalentTo(1))
	m.g.Expect(m.metric("sallyport_node_oldest_refresh_age_seconds")).To(BeNumerically(">", 60))
	m.g.Expect(m.logs.String()).To(ContainSubstring("the Vault is sealed"))

	m.resolver.fail(nil)
	m.resolver.set(map[string]string{"type": "new"})
	m.passTime(func(g Gomega) {
		g.Expect(m.files()).To(Equal(map[string]string{"type": "new"}))
		g.Expect(m.metric("sallyport_node_stale_volumes")).To(BeZero())
	})
}

func TestFailuresAreRetriedWithBackOff(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())
	m.resolver.fail(fault.Transient(v1alpha1.ReasonNoResolver, "nobody"))
	started := m.clock.Now()

	m.passTimeBy(5*time.Second, func(g Gomega) { g.Expect(m.clock.Since(started)).To(BeNumerically(">", 50*time.Minute)) })

	m.g.Expect(m.resolver.questions()).To(And(BeNumerically(">=", 75), BeNumerically("<", 320)))
}

func TestRefreshNeedsATokenThatIsStillGood(t *testing.T) {
	m := newMachine(t)
	m.resolver.refresh = (2 * time.Hour).Milliseconds()
	m.g.Expect(m.publish()).To(Succeed())
	started := m.clock.Now()

	m.passTimeBy(time.Minute, func(g Gomega) { g.Expect(m.clock.Since(started)).To(BeNumerically(">", 3*time.Hour)) })
	m.g.Expect(m.resolver.questions()).To(Equal(1), "the token expired before the refresh was due")
	m.g.Expect(m.files()).NotTo(BeEmpty())

	m.resolver.set(map[string]string{"type": "new"})
	m.g.Expect(m.publish(func(r *csi.NodePublishVolumeRequest) { r.Secrets[keyTokens] = m.tokens("fresh") })).To(Succeed())
	m.passTime(func(g Gomega) { g.Expect(m.files()).To(Equal(map[string]string{"type": "new"})) })
	m.g.Expect(m.resolver.last().GetPodToken()).To(Equal("fresh"))
	m.g.Expect(m.resolver.last().GetWorkloadTokens()).To(Equal(map[string]string{"vault": "fresh for Vault"}))
}

func TestRestartAdoptsVolumesAndRefreshesWithTheFirstToken(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())
	before := m.files()
	used := m.driver.budget.Used()

	m.restart()
	m.g.Expect(m.files()).To(Equal(before))
	m.g.Expect(m.metric("sallyport_node_volumes")).To(BeEquivalentTo(1))
	m.g.Expect(m.driver.budget.Used()).To(Equal(used))
	m.resolver.set(map[string]string{"type": "new"})
	asked := m.resolver.questions()
	m.clock.Step(10 * time.Minute)
	m.g.Consistently(m.resolver.questions, "50ms").Should(Equal(asked), "no token, no question")

	m.g.Expect(m.publish()).To(Succeed())
	started := m.clock.Now()
	m.passTime(func(g Gomega) { g.Expect(m.files()).To(Equal(map[string]string{"type": "new"})) })
	m.g.Expect(m.clock.Since(started)).To(BeNumerically("<", time.Minute))
	m.g.Expect(m.resolver.last().GetRevision()).To(Equal("r1"), "the revision must survive the restart")
}

func TestRestartOfTheMachineStartsAnew(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())
	m.stop()
	m.mounter.reboot()
	m.start()
	m.expectNoVolume()

	m.g.Expect(m.publish()).To(Succeed(), "the kubelet left the empty target path")
	m.g.Expect(m.files()).To(HaveLen(2))
}

func TestRestartClearsOrphansAway(t *testing.T) {
	for _, test := range []struct {
		name string
		harm func(*machine)
	}{
		{"the target is no longer mounted", func(m *machine) {
			m.g.Expect(m.mounter.Unmount(m.target(), false)).To(Succeed())
		}},
		{"the pod's directory is gone", func(m *machine) {
			m.g.Expect(m.mounter.Unmount(m.target(), false)).To(Succeed())
			m.g.Expect(os.RemoveAll(filepath.Join(m.dir, "pods", "uid-1"))).To(Succeed())
		}},
		{"the volume is not complete", func(m *machine) {
			dir := m.driver.store.Path(volumeID)
			current, err := volume.ReadState(dir)
			m.g.Expect(err).NotTo(HaveOccurred())
			current.Complete = false
			m.g.Expect(m.driver.store.WriteState(dir, current)).To(Succeed())
		}},
		{"the directory is another volume's", func(m *machine) {
			dir := m.driver.store.Path(volumeID)
			current, err := volume.ReadState(dir)
			m.g.Expect(err).NotTo(HaveOccurred())
			current.VolumeID = "csi-other"
			m.g.Expect(m.driver.store.WriteState(dir, current)).To(Succeed())
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.g.Expect(m.publish()).To(Succeed())
			test.harm(m)

			m.restart()

			m.expectNothingLeft()
			m.g.Expect(os.MkdirAll(filepath.Dir(m.target()), 0o750)).To(Succeed())
			m.g.Expect(m.publish()).To(Succeed())
			m.g.Expect(m.files()).To(HaveLen(2))
		})
	}
}

func TestRefreshThatOverflowsTheNodeKeepsTheFiles(t *testing.T) {
	m := newMachine(t, func(m *machine) { m.budget = 4 * int64(os.Getpagesize()) })
	m.g.Expect(m.publish()).To(Succeed())
	before := m.files()

	m.resolver.set(map[string]string{"type": string(make([]byte, 5*os.Getpagesize()))})
	m.passTime(func(g Gomega) {
		g.Expect(m.metric("sallyport_node_refreshes_total", v1alpha1.ReasonNodeFull)).To(BeNumerically(">=", 1))
	})

	m.g.Expect(m.files()).To(Equal(before))
}

func TestUnpublishDuringARefresh(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())
	m.resolver.set(map[string]string{"type": "new"})
	release := m.resolver.hold()
	m.passTime(func(g Gomega) { g.Expect(m.resolver.questions()).To(Equal(2)) })

	m.g.Expect(m.unpublish()).To(Succeed(), "a slow resolver must not hold up the end of a pod")
	release()

	m.stop()
	m.expectNothingLeft()
}
