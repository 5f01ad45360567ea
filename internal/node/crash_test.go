package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/internal/node/volume"
)

// atEveryStep runs check once for each step that act takes on a Node prepared by arrange, with the number of the
// step.
func atEveryStep(t *testing.T, arrange, act func(*testNode), check func(n *testNode, step int)) {
	t.Helper()
	trial := newTestNode(t)
	arrange(trial)
	trial.steps.reset()
	act(trial)
	log := trial.steps.log
	trial.g.Expect(len(log)).To(BeNumerically(">", 3))
	for step := range log {
		t.Run(fmt.Sprintf("%02d %s", step+1, filepath.Base(log[step])), func(t *testing.T) {
			t.Parallel() // a killed plugin waits for unmounts that fail
			n := newTestNode(t)
			arrange(n)
			n.steps.reset()
			check(n, step+1)
		})
	}
}

func nothing(*testNode) {}

func publishes(n *testNode)   { _ = n.publish() }
func unpublishes(n *testNode) { _ = n.unpublish() }

func published(n *testNode) { n.g.Expect(n.publish()).To(Succeed()) }

// expectWhole checks the promise of a volume: either the pod sees no mount at all, or every file of one generation.
func (n *testNode) expectWhole(generations ...map[string]string) {
	n.t.Helper()
	if files := n.files(); files != nil {
		n.g.Expect(generations).To(ContainElement(files))
	}
}

func TestStepOfPublishFails(t *testing.T) {
	atEveryStep(t, nothing, publishes, func(n *testNode, step int) {
		n.steps.failAtStep(step)
		n.g.Expect(n.publish()).NotTo(Succeed())
		n.expectNothingLeft()

		n.g.Expect(n.publish()).To(Succeed(), "the kubelet tries again")
		n.g.Expect(n.files()).To(Equal(map[string]string{"type": "SQLORACLE", "password": secretContent}))
		n.g.Expect(n.unpublish()).To(Succeed())
		n.expectNothingLeft()
	})
}

func TestKilledDuringPublish(t *testing.T) {
	whole := map[string]string{"type": "SQLORACLE", "password": secretContent}
	for _, next := range []struct {
		name string
		does func(*testNode)
	}{
		{"then the kubelet publishes again", func(n *testNode) {
			n.g.Expect(n.publish()).To(Succeed())
			n.g.Expect(n.files()).To(Equal(whole))
			n.g.Expect(n.driver.budget.Used()).To(Equal(n.size("password", secretContent, "type", "SQLORACLE")))
			n.g.Expect(n.unpublish()).To(Succeed())
		}},
		{"then the kubelet unpublishes", func(n *testNode) {
			n.g.Expect(n.unpublish()).To(Succeed())
		}},
	} {
		t.Run(next.name, func(t *testing.T) {
			atEveryStep(t, nothing, publishes, func(n *testNode, step int) {
				n.steps.killAfterStep(step)
				_ = n.publish()
				n.g.Expect(n.steps.isDead()).To(BeTrue())
				n.restart()
				n.expectWhole(whole)
				next.does(n)
				n.expectNothingLeft()
			})
		})
	}
}

func TestThePodsMountIsTheLastStepOfAPublish(t *testing.T) {
	n := newTestNode(t)
	n.steps.reset()
	n.g.Expect(n.publish()).To(Succeed())
	log := n.steps.log
	n.g.Expect(log[len(log)-1]).To(Equal("bind " + n.target()))
	state := "rename " + filepath.Join(n.driver.store.Path(volumeID), volume.StateFile)
	n.g.Expect(slices.DeleteFunc(slices.Clone(log), func(step string) bool { return step != state })).To(HaveLen(1))
	n.g.Expect(n.unpublish()).To(Succeed())

	n.steps.killAfterStep(len(log))
	n.g.Expect(n.publish()).NotTo(Succeed())
	asked := n.resolver.requests()
	n.restart()
	n.g.Expect(n.files()).To(Equal(map[string]string{"type": "SQLORACLE", "password": secretContent}), "it is whole")
	n.g.Expect(n.publish()).To(Succeed())
	n.g.Expect(n.resolver.requests()).To(Equal(asked), "and nobody is asked again")
	n.g.Expect(n.unpublish()).To(Succeed())
	n.expectNothingLeft()
}

func TestKilledDuringUnpublish(t *testing.T) {
	atEveryStep(t, published, unpublishes, func(n *testNode, step int) {
		n.steps.killAfterStep(step)
		_ = n.unpublish()
		n.restart()
		n.g.Expect(n.unpublish()).To(Succeed())
		n.expectNothingLeft()
	})
}

func TestStepOfUnpublishFails(t *testing.T) {
	atEveryStep(t, published, unpublishes, func(n *testNode, step int) {
		n.steps.failAtStep(step)
		if n.unpublish() != nil {
			n.g.Expect(n.unpublish()).To(Succeed())
		}
		n.expectNothingLeft()
	})
}

func TestKilledDuringRefresh(t *testing.T) {
	before := map[string]string{"type": "SQLORACLE", "password": secretContent}
	after := map[string]string{"type": "SQLORACLE", "user": "scott", "host": "db"}
	refreshes := func(n *testNode) {
		n.resolver.setFiles(after)
		asked := n.resolver.requests()
		n.passTime(func(g Gomega) {
			g.Expect(n.resolver.requests()).To(BeNumerically(">", asked))
			g.Expect(isFresh(n.driver.volumes.Get(volumeID)) || n.steps.isDead()).To(BeTrue())
		})
	}
	atEveryStep(t, published, refreshes, func(n *testNode, step int) {
		n.steps.killAfterStep(step)
		refreshes(n)
		n.g.Expect(n.steps.isDead()).To(BeTrue())
		n.stop()
		data := n.generation()
		n.g.Expect(data).To(Or(Equal(before), Equal(after)))

		n.restart()
		n.g.Expect(n.generation()).To(Equal(data), "a restart must change nothing")
		n.g.Expect(n.publish()).To(Succeed())
		n.passTime(func(g Gomega) {
			g.Expect(n.files()).To(Equal(after))
			entries, err := os.ReadDir(n.target())
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
func (n *testNode) generation() map[string]string {
	dir := filepath.Join(n.target(), volume.DataLink)
	entries, err := os.ReadDir(dir)
	n.g.Expect(err).NotTo(HaveOccurred())
	files := map[string]string{}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		n.g.Expect(err).NotTo(HaveOccurred())
		files[entry.Name()] = string(content)
	}
	return files
}
