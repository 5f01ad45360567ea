package vault

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestATokenIsRevokedWhenNothingDependsOnIt(t *testing.T) {
	g := NewWithT(t)
	revoked := 0
	u := &usage{end: func() { revoked++ }}
	lease, request := u.hold(), u.hold()
	request()
	request() // twice is once
	u.retire()
	g.Expect(revoked).To(BeZero(), "a lease depends on it")
	lease()
	g.Expect(revoked).To(Equal(1))
	u.hold()()
	u.retire()
	g.Expect(revoked).To(Equal(1))
}

func TestATokenThatIsInUseOrDeadOrNotOursIsNotRevoked(t *testing.T) {
	g := NewWithT(t)
	revoked := 0
	current := &usage{end: func() { revoked++ }}
	current.hold()()
	g.Expect(revoked).To(BeZero(), "it is in use")
	current.abandon()
	current.retire()
	g.Expect(revoked).To(BeZero(), "it is dead")
	notOurs := newUsage()
	notOurs.retire()
}
