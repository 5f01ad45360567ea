package node

import (
	"testing"

	. "github.com/onsi/gomega"
)

// The clock stands still in these tests: whatever is refreshed is not refreshed because its time has come.

func TestAChangeRefreshesTheVolumesThatHaveItsTopic(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())
	asked := m.resolver.questions()
	m.resolver.set(map[string]string{"type": "SQLORACLE", "password": "new"})

	m.changes.topics <- []string{"another"}
	m.changes.topics <- []string{} // taken only after the first has been dealt with
	m.g.Expect(m.resolver.questions()).To(Equal(asked), "what is not the volume's does not concern it")

	m.changes.topics <- []string{"another", "topic"}
	m.g.Eventually(m.files).Should(HaveKeyWithValue("password", "new"))
	m.g.Expect(m.resolver.last().GetRevision()).To(Equal("r1"))
}

func TestAChangeDuringARefreshIsNotLost(t *testing.T) {
	m := newMachine(t)
	m.g.Expect(m.publish()).To(Succeed())
	asked := m.resolver.questions()
	release := m.resolver.hold()
	m.changes.topics <- []string{"topic"}
	m.g.Eventually(m.resolver.questions).Should(Equal(asked + 1))
	m.changes.topics <- []string{"topic"} // the answer under way may be of a moment before
	m.changes.topics <- []string{}
	release()
	m.g.Eventually(m.resolver.questions).Should(Equal(asked + 2))
	m.g.Consistently(m.resolver.questions, "300ms").Should(Equal(asked+2), "and then no more")
}
