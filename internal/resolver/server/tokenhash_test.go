package server

import (
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
)

func TestDigestsOfTokens(t *testing.T) {
	g := NewWithT(t)
	h, other := newTokenHash(), newTokenHash()
	long := strings.Repeat("x", 2000)
	one := h.of("audience", long)
	g.Expect(h.of("audience", long)).To(Equal(one))
	g.Expect(h.of("audience", "short")).NotTo(Equal(one))
	g.Expect(h.of("audience"+long)).NotTo(Equal(one), "where one text ends, and the next begins")
	g.Expect(other.of("audience", long)).NotTo(Equal(one), "another process has another key")
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for range 100 {
				if h.of("audience", long) != one {
					t.Error("states are shared")
				}
			}
		})
	}
	running.Wait()
	state, _ := h.states.Get().(*hashState)
	g.Expect(string(state.text[:cap(state.text)])).NotTo(ContainSubstring("x"), "a token is left behind")
}
