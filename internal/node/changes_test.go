package node

import (
	"testing"

	. "github.com/onsi/gomega"
)

// The clock stands still in these tests: whatever is refreshed is not refreshed because its time has come.

func TestAChangeRefreshesTheVolumesThatHaveItsTopic(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	asked := n.resolver.requests()
	n.resolver.setFiles(map[string]string{"type": "SQLORACLE", "password": "new"})

	n.changes.topics <- []string{"another"}
	n.changes.topics <- []string{} // taken only after the first has been dealt with
	n.g.Expect(n.resolver.requests()).To(Equal(asked), "what is not the volume's does not concern it")

	n.changes.topics <- []string{"another", "topic"}
	n.g.Eventually(n.files).Should(HaveKeyWithValue("password", "new"))
	n.g.Expect(n.resolver.lastRequest().GetRevision()).To(Equal("r1"))
}

func TestAChangeDuringARefreshIsNotLost(t *testing.T) {
	n := newTestNode(t)
	n.g.Expect(n.publish()).To(Succeed())
	asked := n.resolver.requests()
	unblock := n.resolver.block()
	n.changes.topics <- []string{"topic"}
	n.g.Eventually(n.resolver.requests).Should(Equal(asked + 1))
	n.changes.topics <- []string{"topic"} // the response under way may be of a moment before
	n.changes.topics <- []string{}
	unblock()
	n.g.Eventually(n.resolver.requests).Should(Equal(asked + 2))
	n.g.Consistently(n.resolver.requests, "300ms").Should(Equal(asked+2), "and then no more")
}
