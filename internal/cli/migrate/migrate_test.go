package migrate

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// go test ./internal/cli/migrate -update writes the files that the others are compared with; read what changed.
var update = flag.Bool("update", false, "write testdata anew")

// options of the golden files: what manifests of these projects leave to the installation.
var options = Options{
	VaultURL: "https://vault.example.com:8200",
	CA:       &v1alpha1.ConfigMapKeyReference{Name: "vault-ca", Key: "ca.crt"},
	Keys:     map[string][]string{"shop/given": {"username", "password"}},
}

func TestManifestsOfRealProjectsShape(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, file := range files {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".yaml"), func(t *testing.T) {
			g := NewWithT(t)
			in, err := Read([]string{file}, nil, "")
			g.Expect(err).NotTo(HaveOccurred())
			result, err := Migrate(t.Context(), in, options)
			g.Expect(err).NotTo(HaveOccurred())
			base := strings.TrimSuffix(file, ".yaml")
			for ending, patches := range map[string]bool{".out": false, ".patch": true} {
				manifests, err := result.Manifests(patches)
				g.Expect(err).NotTo(HaveOccurred())
				if patches {
					manifests = manifests[len(result.Configs)+len(result.Connections):]
				}
				var out strings.Builder
				g.Expect(WriteYAML(&out, manifests)).To(Succeed())
				golden(t, base+ending, out.String())
			}
			var report strings.Builder
			for _, note := range result.Notes {
				g.Expect(note.Sentence).NotTo(ContainSubstring("\n"))
				report.WriteString(note.String() + "\n")
			}
			golden(t, base+".report", report.String())
		})
	}
}

// golden compares with a file. One that would be empty does not exist.
func golden(t *testing.T, name, content string) {
	t.Helper()
	g := NewWithT(t)
	if *update {
		if content == "" {
			_ = os.Remove(name)
			return
		}
		g.Expect(os.WriteFile(name, []byte(content), 0o600)).To(Succeed())
		return
	}
	expected, err := os.ReadFile(name)
	if content != "" || !os.IsNotExist(err) {
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(content).To(Equal(string(expected)), name)
}
