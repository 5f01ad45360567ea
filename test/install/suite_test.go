// Package install does what README.md tells users to do, word by word: it installs a release from a registry with Helm
// on a real node, goes through the tutorial, upgrades, and uninstalls, also in the wrong order. It runs inside the
// node's namespaces, in a copy of the checkout; `hack/test.sh install` sees to all that.
package install

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func TestInstall(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Installed from a registry")
}

// checkout is where users stand.
func checkout() string {
	dir := os.Getenv("TUTORIAL_CHECKOUT")
	if dir == "" {
		panic("TUTORIAL_CHECKOUT is not set; run the tests with: hack/test.sh install")
	}
	return dir
}

// try runs what a user types and returns what he sees.
func try(ctx context.Context, commands string) (string, error) {
	shell := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-ec", commands)
	shell.Dir = checkout()
	output, err := shell.CombinedOutput()
	GinkgoWriter.Printf("$ %s\n%s\n", commands, output)
	return strings.TrimSpace(string(output)), err
}

func run(ctx context.Context, commands string) string {
	GinkgoHelper()
	output, err := try(ctx, commands)
	Expect(err).NotTo(HaveOccurred(), "%s\n%s", commands, output)
	return output
}

var _ = AfterEach(func(ctx SpecContext) {
	if CurrentSpecReport().Failed() {
		_, _ = try(ctx, `kubectl get pods,events --all-namespaces; kubectl get sallyport --all-namespaces --output=wide`)
	}
})
