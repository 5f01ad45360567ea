package volume

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestDirectoryNames(t *testing.T) {
	g := NewWithT(t)
	g.Expect(directoryName("csi-0a1b2c")).To(Equal("csi-0a1b2c"))
	seen := map[string]string{}
	for _, id := range []string{"..", ".", "", "a/b", "../../etc", "a\x00b", "sha256-1", string(make([]byte, 500)), "ü"} {
		name := directoryName(id)
		g.Expect(name).To(MatchRegexp(`^sha256-[0-9a-f]{64}$`))
		g.Expect(seen).NotTo(HaveKey(name), "%q and %q", id, seen[name])
		seen[name] = id
	}
}
