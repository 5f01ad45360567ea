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

var errNobody = fault.Transient(v1alpha1.ReasonNoResolver, "no resolver answers")

// leased has the Connection come with leases.
func leased(m *machine) { m.resolver.leased = true }

// unreachable has no resolver take anything back.
func unreachable(m *machine) { m.resolver.away = errNobody }

// kept returns the leases beside complete volumes, and those that wait to be given back, as they lie on the node.
func (m *machine) kept() (beside, waiting string) {
	m.t.Helper()
	directories, err := os.ReadDir(m.driver.config.volumesDir())
	m.g.Expect(err).NotTo(HaveOccurred())
	for _, directory := range directories {
		current, failure := volume.ReadState(filepath.Join(m.driver.config.volumesDir(), directory.Name()))
		m.g.Expect(failure).NotTo(HaveOccurred())
		if current.Complete {
			beside += string(current.Leases)
		}
	}
	entries, err := os.ReadDir(m.driver.config.spoolDir())
	m.g.Expect(err).NotTo(HaveOccurred())
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(m.driver.config.spoolDir(), entry.Name()))
		m.g.Expect(err).NotTo(HaveOccurred())
		waiting += string(leasesIn(content))
	}
	return beside, waiting
}

// leasesIn returns what a state or a release has.
func leasesIn(content []byte) volume.EncryptedLeases {
	var holder struct{ Leases volume.EncryptedLeases }
	_ = json.Unmarshal(content, &holder)
	return holder.Leases
}

// written tells whether the lease ever was in a file as a whole.
func (m *machine) written(lease string) bool {
	m.steps.mu.Lock()
	defer m.steps.mu.Unlock()
	return slices.ContainsFunc(m.steps.contents, func(content []byte) bool { return strings.Contains(string(leasesIn(content)), lease) })
}

// expectNoLeaseLost checks that every lease is beside its volume, waits to be given back, was given back, or never
// reached the node's memory.
func (m *machine) expectNoLeaseLost() {
	m.t.Helper()
	beside, waiting := m.kept()
	made, released := m.resolver.leases()
	for _, lease := range made {
		if m.written(lease) {
			m.g.Expect(beside+waiting+released).To(ContainSubstring(lease), "lost")
		}
	}
}

// expectAllGivenBack checks that nothing of what was written is left once resolvers answer.
func (m *machine) expectAllGivenBack() {
	m.t.Helper()
	m.resolver.setAway(nil)
	m.passTime(func(g Gomega) { g.Expect(m.metric("sallyport_node_waiting_releases")).To(BeZero()) })
	made, released := m.resolver.leases()
	for _, lease := range made {
		if m.written(lease) {
			m.g.Expect(released).To(ContainSubstring(lease))
		}
	}
	beside, waiting := m.kept()
	m.g.Expect(beside + waiting).To(BeEmpty())
}

func TestEveryQuestionHasTheLeasesOfTheLastAnswer(t *testing.T) {
	m := newMachine(t, leased)
	m.g.Expect(m.publish()).To(Succeed())
	m.g.Expect(m.resolver.last().GetLeases()).To(BeEmpty())
	beside, _ := m.kept()
	m.g.Expect(beside).To(Equal(secretLease + "-1;"))

	asked := m.resolver.questions()
	m.passTime(func(g Gomega) { g.Expect(m.resolver.questions()).To(BeNumerically(">", asked)) })
	m.g.Expect(string(m.resolver.last().GetLeases())).To(Equal(secretLease + "-1;"))

	m.resolver.set(map[string]string{"type": "new"})
	m.passTime(func(g Gomega) { g.Expect(isFresh(m.driver.volumes.Get(volumeID))).To(BeTrue()) })
	beside, _ = m.kept()
	m.g.Expect(beside).To(Equal(secretLease + "-1;" + secretLease + "-2;"))
	m.restart()
	m.g.Expect(m.publish()).To(Succeed())
	asked = m.resolver.questions()
	m.passTime(func(g Gomega) { g.Expect(m.resolver.questions()).To(BeNumerically(">", asked)) })
	m.g.Expect(string(m.resolver.last().GetLeases())).To(Equal(beside), "they must survive the restart")

	m.resolver.mu.Lock()
	m.resolver.raw = &resolverv1.ResolveResponse{Revision: "r2", Unchanged: true, RefreshAfterMs: 1000}
	m.resolver.mu.Unlock()
	m.passTime(func(g Gomega) {
		beside, _ := m.kept()
		g.Expect(beside).To(BeEmpty(), "an answer without leases means that the volume has none")
	})
	m.g.Expect(m.unpublish()).To(Succeed())
	_, released := m.resolver.leases()
	m.g.Expect(released).To(BeEmpty())
}

func TestLeasesCostNoWriteWhileFilesStayAsTheyAre(t *testing.T) {
	refresh := func(options ...func(*machine)) []string {
		m := newMachine(t, options...)
		m.g.Expect(m.publish()).To(Succeed())
		m.steps.arm(0, 0)
		m.passTime(func(g Gomega) {
			g.Expect(m.metric("sallyport_node_refreshes_total", v1alpha1.ReasonSucceeded)).To(BeEquivalentTo(1))
		})
		var names []string
		for _, step := range m.steps.log {
			names = append(names, strings.ReplaceAll(step, m.dir, ""))
		}
		return names
	}
	NewWithT(t).Expect(refresh(leased)).To(Equal(refresh()))
}

func TestLeasesAreRecordedBeforeFilesChange(t *testing.T) {
	m := newMachine(t, leased)
	m.g.Expect(m.publish()).To(Succeed())
	m.steps.arm(0, 0)
	m.steps.contents = nil
	m.resolver.set(map[string]string{"type": "new"})
	m.passTime(func(g Gomega) { g.Expect(isFresh(m.driver.volumes.Get(volumeID))).To(BeTrue()) })

	m.g.Expect(filepath.Base(m.steps.log[2])).To(Equal(volume.StateFile), "before all else")
	m.g.Expect(string(leasesIn(m.steps.contents[0]))).To(ContainSubstring(secretLease + "-2;"))
	var first volume.State
	m.g.Expect(json.Unmarshal(m.steps.contents[0], &first)).To(Succeed())
	m.g.Expect(first.Revision).To(Equal("r1"), "the files are still the old ones")
}

func TestNoLeaseIsLostWhereverThePluginIsKilled(t *testing.T) {
	refreshes := func(m *machine) {
		m.resolver.set(map[string]string{"type": "new", "user": "scott"})
		m.passTime(func(g Gomega) {
			g.Expect(isFresh(m.driver.volumes.Get(volumeID)) || m.steps.isDead()).To(BeTrue())
		})
	}
	arranged := func(arrange func(*machine)) func(*machine) {
		return func(m *machine) {
			leased(m)
			unreachable(m)
			arrange(m)
		}
	}
	for _, test := range []struct {
		name         string
		arrange, act func(*machine)
	}{
		{"publish", arranged(nothing), publishes},
		{"a publish over what an unpublish left", arranged(func(m *machine) {
			published(m)
			m.steps.arm(3, 0) // with the pod's mount gone and the volume's still there
			m.g.Expect(m.unpublish()).NotTo(Succeed())
		}), publishes},
		{"refresh", arranged(published), refreshes},
		{"unpublish", arranged(published), unpublishes},
	} {
		t.Run(test.name, func(t *testing.T) {
			atEveryStep(t, test.arrange, test.act, func(m *machine, step int) {
				m.steps.arm(0, step)
				test.act(m)
				m.g.Expect(m.steps.isDead()).To(BeTrue())

				m.restart()
				m.expectNoLeaseLost()
				m.g.Expect(m.unpublish()).To(Succeed())
				m.expectNothingLeft()
				m.expectNoLeaseLost()
				m.expectAllGivenBack()
			})
		})
	}
}

func TestNoLeaseIsLostWhateverFails(t *testing.T) {
	arrange := func(m *machine) { leased(m); published(m) }
	refreshes := func(m *machine) {
		m.resolver.set(map[string]string{"type": "new", "user": "scott"})
		m.passTime(func(g Gomega) { g.Expect(isFresh(m.driver.volumes.Get(volumeID))).To(BeTrue()) })
	}
	t.Run("refresh", func(t *testing.T) {
		atEveryStep(t, arrange, refreshes, func(m *machine, step int) {
			m.steps.arm(step, 0)
			refreshes(m)
			m.g.Expect(m.unpublish()).To(Succeed())
			m.expectNothingLeft()
			m.expectAllGivenBack()
			made, released := m.resolver.leases()
			for _, lease := range made {
				m.g.Expect(released).To(ContainSubstring(lease), "no process was killed, so each was known")
			}
		})
	})
	t.Run("publish", func(t *testing.T) {
		atEveryStep(t, leased, publishes, func(m *machine, step int) {
			m.steps.arm(step, 0)
			m.g.Expect(m.publish()).NotTo(Succeed())
			m.expectNothingLeft()
			m.passTime(func(g Gomega) {
				made, released := m.resolver.leases()
				g.Expect(released).To(Equal(strings.Join(made, "")))
			})
		})
	})
}

func TestAPublishThatIsRefusedGivesBackWhatWasMadeForIt(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer *resolverv1.ResolveResponse
		option func(*machine)
	}{
		{name: "a file that cannot be", answer: response("../../etc/passwd"), option: nothing},
		{name: "a node that is full", answer: response("a"), option: func(m *machine) { m.budget = 1 }},
		{name: "the pod is gone", answer: response("a"), option: func(m *machine) {
			m.g.Expect(os.RemoveAll(filepath.Dir(m.target()))).To(Succeed())
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t, test.option)
			test.answer.Leases = []byte(secretLease)
			m.resolver.raw = test.answer

			m.g.Expect(m.publish()).NotTo(Succeed())

			m.g.Eventually(func() string { _, released := m.resolver.leases(); return released }).Should(Equal(secretLease))
			m.expectNothingLeft()
		})
	}
}

func TestAnAnswerForAVolumeThatIsGoneIsGivenBack(t *testing.T) {
	m := newMachine(t, leased)
	m.g.Expect(m.publish()).To(Succeed())
	m.resolver.set(map[string]string{"type": "new"})
	release := m.resolver.hold()
	m.passTime(func(g Gomega) { g.Expect(m.resolver.questions()).To(Equal(2)) })
	m.g.Expect(m.unpublish()).To(Succeed())

	release()

	m.g.Eventually(func() string { _, released := m.resolver.leases(); return released }).Should(ContainSubstring(secretLease + "-2;"))
	m.expectNothingLeft()
}

func TestAnAnswerThatComesWhileThePluginStopsIsKept(t *testing.T) {
	m := newMachine(t, leased)
	m.g.Expect(m.publish()).To(Succeed())
	m.resolver.set(map[string]string{"type": "new"})
	m.resolver.deaf = true
	release := m.resolver.hold()
	m.passTime(func(g Gomega) { g.Expect(m.resolver.questions()).To(Equal(2)) })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		m.stop()
	}()
	m.g.Eventually(m.logs.String).Should(ContainSubstring(messageStopping))

	release()

	m.g.Eventually(stopped).Should(BeClosed())
	current, err := volume.ReadState(m.driver.store.Path(volumeID))
	m.g.Expect(err).NotTo(HaveOccurred())
	m.g.Expect(string(current.Leases)).To(ContainSubstring(secretLease + "-2;"))
}

func TestTheRestartOfTheMachineLosesNoMoreThanLeasesThatRunOut(t *testing.T) {
	m := newMachine(t, leased, unreachable)
	m.g.Expect(m.publish()).To(Succeed())
	m.g.Expect(m.unpublish()).To(Succeed())
	m.stop()
	m.mounter.reboot()
	m.start()
	m.g.Expect(m.metric("sallyport_node_waiting_releases")).To(BeZero())
	m.g.Expect(m.publish()).To(Succeed())
	m.g.Expect(m.unpublish()).To(Succeed())
	m.g.Expect(m.metric("sallyport_node_waiting_releases")).To(BeEquivalentTo(1))
}

func TestLeasesCountAsTheVolumesMemory(t *testing.T) {
	m := newMachine(t)
	answer := response("a")
	answer.Leases = make([]byte, os.Getpagesize())
	m.resolver.raw = answer
	m.g.Expect(m.publish()).To(Succeed())
	used := m.driver.budget.Used()
	m.g.Expect(used).To(BeEquivalentTo(4*os.Getpagesize()), "a page of state, a file, and two of leases as text")

	m.restart()
	m.g.Expect(m.driver.budget.Used()).To(Equal(used))
	m.resolver.mu.Lock()
	m.resolver.raw = response("a")
	m.resolver.mu.Unlock()
	m.g.Expect(m.publish(func(r *csi.NodePublishVolumeRequest) { r.Secrets[keyTokens] = m.tokens("fresh") })).To(Succeed())
	m.passTime(func(g Gomega) { g.Expect(m.driver.budget.Used()).To(BeEquivalentTo(2 * os.Getpagesize())) })
	m.g.Expect(m.unpublish()).To(Succeed())
	m.expectNothingLeft()
}
