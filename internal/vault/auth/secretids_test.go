package auth

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/vault/transport"
)

func secretIDsOf(all *SecretIDs, namespace string, uid types.UID, way, mount, role string) *roleSecretIDs {
	return &roleSecretIDs{ConnectionSecretIDs: all.Of(namespace, uid, way), mount: mount, roleID: transport.NewToken(role)}
}

func TestAnUnwrappedSecretIDIsForItsConnectionAlone(t *testing.T) {
	g := NewWithT(t)
	all, c := NewSecretIDs(), NewCredential("w1\nw2")
	mine := secretIDsOf(all, "shop", "uid", "way", "approle", "role")
	mine.keep(c, "w2", transport.NewToken("s"))
	g.Expect(mine.known(c).Reveal()).To(Equal("s"))
	g.Expect(mine.known(NewCredential("w2")).Reveal()).To(Equal("s"), "the other line was taken away")
	g.Expect(secretIDsOf(all, "shop", "uid", "way", "approle", "corrected").known(c).Reveal()).To(Equal("s"))
	for name, other := range map[string]*roleSecretIDs{
		"another namespace":  secretIDsOf(all, "other", "uid", "way", "approle", "role"),
		"another Connection": secretIDsOf(all, "shop", "new", "way", "approle", "role"),
		"another way":        secretIDsOf(all, "shop", "uid", "elsewhere", "approle", "role"),
		"another mount":      secretIDsOf(all, "shop", "uid", "way", "other", "role"),
		"another process":    secretIDsOf(NewSecretIDs(), "shop", "uid", "way", "approle", "role"),
	} {
		g.Expect(other.known(c)).To(BeNil(), name)
	}
	g.Expect(mine.known(NewCredential("w1\nw3"))).To(BeNil())

	all.Forget("other")
	g.Expect(mine.known(c)).NotTo(BeNil())
	all.Forget("uid")
	g.Expect(mine.known(c)).To(BeNil())
}

func TestARefusedSecretIDIsOfferedWithAnotherRoleIDOnly(t *testing.T) {
	g := NewWithT(t)
	all, c := NewSecretIDs(), NewCredential("w1")
	mine := secretIDsOf(all, "shop", "uid", "way", "approle", "wrong")
	g.Expect(mine.refused(c)).To(BeFalse())
	mine.keep(c, "w1", transport.NewToken("s"))
	mine.refuse(c)
	g.Expect(mine.known(c)).To(BeNil())
	g.Expect(mine.refused(c)).To(BeTrue())
	corrected := secretIDsOf(all, "shop", "uid", "way", "approle", "right")
	g.Expect(corrected.refused(c)).To(BeFalse())
	g.Expect(corrected.known(c).Reveal()).To(Equal("s"))

	next := NewCredential("w1\nw2")
	mine.keep(next, "w2", transport.NewToken("s2"))
	g.Expect(mine.known(next).Reveal()).To(Equal("s2"))
}

func TestSecretIDsOfFormerWrappingTokensAreForgotten(t *testing.T) {
	g := NewWithT(t)
	all := NewSecretIDs()
	mine, other := secretIDsOf(all, "shop", "uid", "way", "approle", "r"), secretIDsOf(all, "shop", "other", "way", "approle", "r")
	for _, line := range []string{"w1", "w2", "w3"} {
		mine.keep(NewCredential(line), line, transport.NewToken("s"))
		other.keep(NewCredential("w0"), "w0", transport.NewToken("s"))
	}
	g.Expect(all.cache.Len()).To(Equal(2))
	g.Expect(mine.known(NewCredential("w2"))).To(BeNil())
	g.Expect(mine.known(NewCredential("w3"))).NotTo(BeNil())
	g.Expect(other.known(NewCredential("w0"))).NotTo(BeNil())
}

func TestANamespaceHasAShareOfTheSecretIDs(t *testing.T) {
	g := NewWithT(t)
	all, c, secretID := NewSecretIDs(), NewCredential("w"), transport.NewToken(strings.Repeat("s", 36))
	small := secretIDsOf(all, "small", "uid", "way", "approle", "role")
	small.keep(c, "w", secretID)
	for n := range 2 * heap.SecretIDs / secretIDOverhead {
		secretIDsOf(all, "large", types.UID(fmt.Sprint(n)), "way", "approle", "role").keep(c, "w", secretID)
	}
	g.Expect(small.known(c)).NotTo(BeNil())
	g.Expect(all.cache.Len()).To(And(BeNumerically(">", 100), BeNumerically("<=", 1+heap.SecretIDsShare/secretIDOverhead)))
}
