package node

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/internal/node/volume"
)

// atEveryStep runs check once for each step that act takes on a machine prepared by arrange, with the number of the
// step.
func atEveryStep(t *testing.T, arrange, act func(*machine), check func(m *machine, step int)) {
	t.Helper()
	trial := newMachine(t)
	arrange(trial)
	trial.steps.arm(0, 0)
	act(trial)
	log := trial.steps.log
	trial.g.Expect(len(log)).To(BeNumerically(">", 3))
	for step := range log {
		t.Run(fmt.Sprintf("%02d %s", step+1, filepath.Base(log[step])), func(t *testing.T) {
			m := newMachine(t)
			arrange(m)
			m.steps.arm(0, 0)
			check(m, step+1)
		})
	}
}

func nothing(*machine) {}

func publishes(m *machine)   { _ = m.publish() }
func unpublishes(m *machine) { _ = m.unpublish() }

func published(m *machine) { m.g.Expect(m.publish()).To(Succeed()) }

// whole checks the promise of a volume: either the pod sees no mount at all, or every file of one generation.
func (m *machine) whole(generations ...map[string]string) {
	m.t.Helper()
	if files := m.files(); files != nil {
		m.g.Expect(generations).To(ContainElement(files))
	}
}

func TestStepOfPublishFails(t *testing.T) {
	atEveryStep(t, nothing, publishes, func(m *machine, step int) {
		m.steps.arm(step, 0)
		m.g.Expect(m.publish()).NotTo(Succeed())
		m.expectNothingLeft()

		m.g.Expect(m.publish()).To(Succeed(), "the kubelet tries again")
		m.g.Expect(m.files()).To(Equal(map[string]string{"type": "SQLORACLE", "password": secretContent}))
		m.g.Expect(m.unpublish()).To(Succeed())
		m.expectNothingLeft()
	})
}

func TestKilledDuringPublish(t *testing.T) {
	whole := map[string]string{"type": "SQLORACLE", "password": secretContent}
	for _, next := range []struct {
		name string
		does func(*machine)
	}{
		{"then the kubelet publishes again", func(m *machine) {
			m.g.Expect(m.publish()).To(Succeed())
			m.g.Expect(m.files()).To(Equal(whole))
			m.g.Expect(m.driver.budget.Used()).To(BeEquivalentTo(3 * os.Getpagesize()))
			m.g.Expect(m.unpublish()).To(Succeed())
		}},
		{"then the kubelet unpublishes", func(m *machine) {
			m.g.Expect(m.unpublish()).To(Succeed())
		}},
	} {
		t.Run(next.name, func(t *testing.T) {
			atEveryStep(t, nothing, publishes, func(m *machine, step int) {
				m.steps.arm(0, step)
				_ = m.publish()
				m.g.Expect(m.steps.isDead()).To(BeTrue())
				m.restart()
				m.whole(whole)
				next.does(m)
				m.expectNothingLeft()
			})
		})
	}
}

func TestKilledDuringUnpublish(t *testing.T) {
	atEveryStep(t, published, unpublishes, func(m *machine, step int) {
		m.steps.arm(0, step)
		_ = m.unpublish()
		m.restart()
		m.g.Expect(m.unpublish()).To(Succeed())
		m.expectNothingLeft()
	})
}

func TestStepOfUnpublishFails(t *testing.T) {
	atEveryStep(t, published, unpublishes, func(m *machine, step int) {
		m.steps.arm(step, 0)
		if m.unpublish() != nil {
			m.g.Expect(m.unpublish()).To(Succeed())
		}
		m.expectNothingLeft()
	})
}

func TestKilledDuringRefresh(t *testing.T) {
	before := map[string]string{"type": "SQLORACLE", "password": secretContent}
	after := map[string]string{"type": "SQLORACLE", "user": "scott", "host": "db"}
	refreshes := func(m *machine) {
		m.resolver.set(after)
		asked := m.resolver.questions()
		m.passTime(func(g Gomega) {
			g.Expect(m.resolver.questions()).To(BeNumerically(">", asked))
			g.Expect(isFresh(m.driver.volumes.Get(volumeID)) || m.steps.isDead()).To(BeTrue())
		})
	}
	atEveryStep(t, published, refreshes, func(m *machine, step int) {
		m.steps.arm(0, step)
		refreshes(m)
		m.g.Expect(m.steps.isDead()).To(BeTrue())
		m.stop()
		data := m.generation()
		m.g.Expect(data).To(Or(Equal(before), Equal(after)))

		m.restart()
		m.g.Expect(m.generation()).To(Equal(data), "a restart must change nothing")
		m.g.Expect(m.publish()).To(Succeed())
		m.passTime(func(g Gomega) {
			g.Expect(m.files()).To(Equal(after))
			entries, err := os.ReadDir(m.target())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(entries).To(HaveLen(len(after)+2), "links of the files, ..data and what it leads to")
		})
	})
}

// isFresh tells whether the volume holds the resolver's second revision.
func isFresh(v *volume.Volume) bool {
	current, _ := v.Snapshot()
	return current.Revision == "r2"
}

// generation is what ..data leads to, complete at every moment.
func (m *machine) generation() map[string]string {
	dir := filepath.Join(m.target(), volume.DataLink)
	entries, err := os.ReadDir(dir)
	m.g.Expect(err).NotTo(HaveOccurred())
	files := map[string]string{}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		m.g.Expect(err).NotTo(HaveOccurred())
		files[entry.Name()] = string(content)
	}
	return files
}
