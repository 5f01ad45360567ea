package architecture_test

import (
	"os/exec"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// The plugin's libraries are for people at a terminal: what runs in the cluster has none of them.
func TestTheControllersProgramHasNothingOfThePlugin(t *testing.T) {
	g := NewWithT(t)
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	command.Dir = root
	output, err := command.Output()
	g.Expect(err).NotTo(HaveOccurred())
	packages := strings.Fields(string(output))
	g.Expect(packages).To(ContainElement("sallyport.dev/sallyport/internal/app"))
	for _, pkg := range packages {
		for _, of := range []string{"github.com/spf13/cobra", "k8s.io/cli-runtime", "sallyport.dev/sallyport/internal/cli"} {
			g.Expect(pkg == of || strings.HasPrefix(pkg, of+"/")).To(BeFalse(), pkg)
		}
	}
}
