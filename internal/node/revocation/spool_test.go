package revocation

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/volume"
)

func TestTheSpoolIsBounded(t *testing.T) {
	g := NewWithT(t)
	s := NewSpool(t.TempDir(), volume.OSFilesystem{})
	large := 1 << 20
	for i := range 32 {
		l := make(volume.EncryptedLeases, large)
		l[0] = byte(i)
		if name, err := s.add(entry{Leases: l}); err != nil {
			g.Expect(name).To(BeEmpty())
			g.Expect(fault.Is(err, v1alpha1.ReasonNodeFull)).To(BeTrue())
		}
	}
	g.Expect(s.budget.Used()).To(And(BeNumerically(">", SpoolSize), BeNumerically("<=", 2*SpoolSize)))
	g.Expect(s.Len()).To(BeNumerically("<", 32))
}

func TestAnEntryPrintsNoLeases(t *testing.T) {
	const secretLease = "canary-lease-V7RD"
	e := entry{Pod: volume.Pod{Namespace: "shop", Name: "shop-0"}, Leases: volume.EncryptedLeases(secretLease)}
	raw := fmt.Sprintf("%d", []byte(secretLease))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{e, &e} {
			NewWithT(t).Expect(fmt.Sprintf(verb, value)).NotTo(Or(
				ContainSubstring(secretLease), ContainSubstring(raw[1:len(raw)-1]),
				ContainSubstring(fmt.Sprintf("%x", secretLease)), ContainSubstring(fmt.Sprintf("%#v", []byte(secretLease)))), verb)
		}
	}
}
