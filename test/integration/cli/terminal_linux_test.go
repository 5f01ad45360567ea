package cli

import (
	"os"
	"os/exec"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sallyport.dev/sallyport/internal/cli"
	"sallyport.dev/sallyport/test/terminal"
)

// asPlugin is set where the program of the specs is the plugin, in a process of its own.
const asPlugin = "SALLYPORT_TEST_AS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) == "" {
		os.Exit(m.Run())
	}
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	os.Exit(cli.Main(os.Args[1:], streams, os.Getenv))
}

// plugin is a process of the plugin.
func plugin(environment map[string]string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, os.Args[0], append([]string{"--kubeconfig", kubeconfig}, args...)...)
	command.Env = append(os.Environ(), asPlugin+"=yes", "NO_COLOR=")
	for name, value := range environment {
		command.Env = append(command.Env, name+"="+value)
	}
	return command
}

func openTerminal() *terminal.Terminal {
	GinkgoHelper()
	at, err := terminal.Open()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(at.Close)
	return at
}

var _ = Describe("kubectl sallyport at a terminal", func() {
	It("stores what is typed twice, and shows nothing of it", func() {
		namespace := newNamespace()
		readyConfig(namespace)
		at := openTerminal()
		command := plugin(root(), "-n", namespace, "write", namespace+"/typed", "password", "--config", "main", "--name", "task")
		Expect(at.Run(command)).To(Succeed())
		for _, prompt := range []string{"password: ", "password once more: "} {
			Eventually(at.Screen).Should(HaveSuffix(prompt))
			Eventually(at.Echoes).Should(BeFalse())
			Expect(at.Type("correct horse\r")).To(Succeed())
		}
		Expect(command.Wait()).To(Succeed(), at.Screen())
		Eventually(at.Screen).Should(Equal("password: \r\npassword once more: \r\n" +
			"VaultTask " + namespace + "/task: wrote version 1 of secret/data/" + namespace + "/typed\r\n"))
		Expect(storedIn(namespace + "/typed")).To(Equal(map[string]any{"password": "correct horse"}))
		Expect(at.Echoes()).To(BeTrue())
	})

	It("colours what it says, but not in a pipe and not with NO_COLOR", func() {
		namespace := newNamespace()
		readyConfig(namespace)
		why := func(environment map[string]string) *exec.Cmd {
			return plugin(environment, "-n", namespace, "why", "vaultconfig/main")
		}
		at := openTerminal()
		command := why(nil)
		Expect(at.Run(command)).To(Succeed())
		Expect(command.Wait()).To(Succeed(), at.Screen())
		Eventually(at.Screen).Should(HavePrefix("\x1b[32m✔\x1b[0m VaultConfig " + namespace + "/main"))

		at = openTerminal()
		command = why(map[string]string{"NO_COLOR": "1"})
		Expect(at.Run(command)).To(Succeed())
		Expect(command.Wait()).To(Succeed(), at.Screen())
		Eventually(at.Screen).Should(HavePrefix("✔ VaultConfig " + namespace + "/main"))

		output, err := why(nil).Output()
		Expect(err).NotTo(HaveOccurred())
		Expect(string(output)).To(HavePrefix("✔ VaultConfig " + namespace + "/main"))
	})
})
