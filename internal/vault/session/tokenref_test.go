package session

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
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

func TestATokenIsRevokedWithItsLastLease(t *testing.T) {
	g := NewWithT(t)
	config := func(namespace, url string) *v1alpha1.VaultConfig {
		c := &v1alpha1.VaultConfig{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "main"}}
		c.Spec.URL = url
		return c
	}
	shop, elsewhere := config("shop", "https://one"), config("shop", "https://two")
	revoked := 0
	ref := &tokenRef{revoke: func() { revoked++ }}
	var leases leaseRegister
	leases.add(shop, "a", ref)
	leases.add(shop, "b", ref)
	leases.add(shop, "b", ref)
	ref.Close()
	leases.end(shop, "a")
	leases.end(shop, "a")
	leases.end(elsewhere, "b")
	leases.end(shop, "unknown")
	g.Expect(revoked).To(BeZero(), "a lease depends on it, and one of the same ID at another Vault says nothing of it")
	leases.end(shop, "b")
	g.Expect(revoked).To(Equal(1))
	g.Expect(leases.leases).To(BeEmpty())
}

func TestTheTokenOfALeaseThatFindsNoRoomIsLeftToItsOwnEnd(t *testing.T) {
	g := NewWithT(t)
	revoked := 0
	newRef := func() *tokenRef { return &tokenRef{revoke: func() { revoked++ }} }
	config := &v1alpha1.VaultConfig{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "main"}}
	var leases leaseRegister
	for i := range maxRegisteredOfNamespace {
		leases.add(config, fmt.Sprint(i), newRef())
	}
	left := newRef()
	leases.add(config, "one more", left)
	left.Close()
	g.Expect(revoked).To(BeZero())
	other, found := config.DeepCopy(), newRef()
	other.Namespace = "other"
	leases.add(other, "a", found)
	found.Close()
	leases.end(other, "a")
	g.Expect(revoked).To(Equal(1), "another namespace has room of its own")
}
