package vaulttask

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

func TestKeysThatStatusHasNoRoomForAreCounted(t *testing.T) {
	g := NewWithT(t)
	keys, omitted := keysOf(map[string]any{"a": 1, strings.Repeat("b", maxKeyName+1): 1, "c": 1})
	g.Expect(keys).To(Equal([]string{"a", "c"}))
	g.Expect(omitted).To(BeEquivalentTo(1))

	many := map[string]any{}
	for i := range maxKeys + 5 {
		many[fmt.Sprint(i)] = 1
	}
	keys, omitted = keysOf(many)
	g.Expect(keys).To(HaveLen(maxKeys))
	g.Expect(omitted).To(BeEquivalentTo(5))
}

func TestAPathThatStatusHasNoRoomForIsRefusedBeforeAnythingIsDone(t *testing.T) {
	g := NewWithT(t)
	to := &target{location: secrets.Location{EnginePath: "secret", SecretPath: strings.Repeat("a", maxPath)}}
	err := to.named(v1alpha1.OperationWrite)
	g.Expect(fault.Is(err, v1alpha1.ReasonInvalidSpec)).To(BeTrue())
	g.Expect(err).To(MatchError("the path has 4007 bytes, and 4000 are allowed; shorten it"))
	to.location.SecretPath = "db"
	g.Expect(to.named(v1alpha1.OperationWrite)).To(Succeed())
}
