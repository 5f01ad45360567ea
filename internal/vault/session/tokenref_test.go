package session

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestATokenIsRevokedWhenNothingDependsOnIt(t *testing.T) {
	g := NewWithT(t)
	revoked := 0
	r := &tokenRef{revoke: func() { revoked++ }}
	lease, request := r.Acquire(), r.Acquire()
	request()
	request() // twice is once
	r.Close()
	g.Expect(revoked).To(BeZero(), "a lease depends on it")
	lease()
	g.Expect(revoked).To(Equal(1))
	r.Acquire()()
	r.Close()
	g.Expect(revoked).To(Equal(1))
}

func TestATokenThatIsInUseOrDeadOrNotOursIsNotRevoked(t *testing.T) {
	g := NewWithT(t)
	revoked := 0
	current := &tokenRef{revoke: func() { revoked++ }}
	current.Acquire()()
	g.Expect(revoked).To(BeZero(), "it is in use")
	current.Invalidate()
	current.Close()
	g.Expect(revoked).To(BeZero(), "it is dead")
	notOurs := newTokenRef()
	notOurs.Close()
}
