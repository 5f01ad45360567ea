package cli

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"sallyport.dev/sallyport/test/terminal"
)

// asPlugin is set where the program of the tests is the plugin, in a process of its own.
const asPlugin = "SALLYPORT_TEST_AS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) == "" {
		os.Exit(m.Run())
	}
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	os.Exit(Main(os.Args[1:], streams, os.Getenv))
}

// plugin is a process of the plugin. No server is there that it could reach.
func plugin(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], append([]string{"--server", "https://127.0.0.1:1"}, args...)...)
	command.Env = append(os.Environ(), asPlugin+"=yes", "HOME="+t.TempDir(), "KUBECONFIG=", "NO_COLOR=",
		"VAULT_ADDR=https://127.0.0.1:1", "VAULT_TOKEN=none")
	return command
}

func open(t *testing.T) *terminal.Terminal {
	t.Helper()
	at, err := terminal.Open()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(at.Close)
	return at
}

// exitCode is that of a process which ends soon.
func exitCode(t *testing.T, command *exec.Cmd) int {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = command.Wait()
	}()
	NewWithT(t).Eventually(ended, 45*time.Second).Should(BeClosed(), "the end of the process")
	return command.ProcessState.ExitCode()
}

// prompted waits until the plugin waits for what is typed after a prompt.
func prompted(t *testing.T, at *terminal.Terminal, prompt string) {
	t.Helper()
	g := NewWithT(t)
	g.Eventually(at.Screen, 45*time.Second).Should(HaveSuffix(prompt))
	g.Eventually(at.Echoes, 45*time.Second).Should(BeFalse(), "an echo while a value is typed")
}

func TestColoursAreForTerminalsAndNotWithNoColor(t *testing.T) {
	g, at := NewWithT(t), open(t)
	text := func(w io.Writer) { _, _ = io.WriteString(w, "✔ fine\n  ✘ broken\n") }
	show := func(out io.Writer, environment string) {
		p := &program{IOStreams: genericiooptions.IOStreams{Out: out}, colours: environment == ""}
		g.Expect(p.print(nil, text)).To(Succeed())
	}
	show(at.File, "")
	g.Eventually(at.Screen).Should(Equal("\x1b[32m✔\x1b[0m fine\r\n  \x1b[31m✘\x1b[0m broken\r\n"))

	plain := open(t)
	show(plain.File, "1")
	g.Eventually(plain.Screen).Should(Equal("✔ fine\r\n  ✘ broken\r\n"))

	reader, writer, err := os.Pipe()
	g.Expect(err).NotTo(HaveOccurred())
	show(writer, "")
	g.Expect(writer.Close()).To(Succeed())
	g.Expect(io.ReadAll(reader)).To(Equal([]byte("✔ fine\n  ✘ broken\n")))
}

// What a program reads is as others wrote it; a terminal would do as it is told there.
func TestWhatOthersWroteCommandsNoTerminal(t *testing.T) {
	g, at := NewWithT(t), open(t)
	text := func(w io.Writer) { _, _ = io.WriteString(w, "Pod a: \x1b]0;title\a\n") }
	p := &program{IOStreams: genericiooptions.IOStreams{Out: outlet{at.File}}}
	g.Expect(p.print(nil, text)).To(Succeed())
	g.Eventually(at.Screen).Should(Equal("Pod a: \uFFFD]0;title\uFFFD\r\n"))

	var out bytes.Buffer
	p.Out = outlet{&out}
	g.Expect(p.print(nil, text)).To(Succeed())
	g.Expect(out.String()).To(Equal("Pod a: \x1b]0;title\a\n"))
}

func TestAValueIsTypedTwiceAndNeverShown(t *testing.T) {
	g, at := NewWithT(t), open(t)
	command := plugin(t, "write", "path", "password", "--config", "main")
	g.Expect(at.Run(command)).To(Succeed())
	prompted(t, at, "password: ")
	g.Expect(at.Type("correct horse\r")).To(Succeed())
	prompted(t, at, "password once more: ")
	g.Expect(at.Type("battery staple\r")).To(Succeed())
	g.Expect(exitCode(t, command)).To(Equal(exitUnanswered))
	g.Expect(at.Echoes()).To(BeTrue(), "an echo afterwards")
	g.Eventually(at.Screen).Should(Equal("password: \r\npassword once more: \r\n" +
		"kubectl sallyport: the two values of password differ; nothing was stored\r\n"))
}

func TestAnInterruptAtThePromptEndsIt(t *testing.T) {
	for name, interrupt := range map[string]func(*terminal.Terminal, *exec.Cmd) error{
		"Ctrl-C":  func(at *terminal.Terminal, _ *exec.Cmd) error { return at.Type("correct\x03") },
		"SIGTERM": func(_ *terminal.Terminal, command *exec.Cmd) error { return command.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			g, at := NewWithT(t), open(t)
			command := plugin(t, "write", "path", "password", "--config", "main")
			g.Expect(at.Run(command)).To(Succeed())
			prompted(t, at, "password: ")
			g.Expect(interrupt(at, command)).To(Succeed())
			g.Expect(exitCode(t, command)).To(Equal(exitUnanswered))
			g.Expect(at.Echoes()).To(BeTrue(), "an echo afterwards")
			g.Eventually(at.Screen).Should(HaveSuffix("\r\nkubectl sallyport: interrupted; nothing was stored\r\n"))
			g.Expect(at.Screen()).NotTo(ContainSubstring("correct"))
		})
	}
}

// The kernel ends a program that writes to a pipe which nobody reads; a shell says 141.
func TestAPipeThatClosesEarlyEndsIt(t *testing.T) {
	g := NewWithT(t)
	reader, writer, err := os.Pipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(reader.Close()).To(Succeed())
	command := plugin(t, "completion", "bash")
	var complaints bytes.Buffer
	command.Stdout, command.Stderr = writer, &complaints
	err = command.Run()
	g.Expect(writer.Close()).To(Succeed())
	g.Expect(err).To(HaveOccurred())
	status := command.ProcessState.Sys().(syscall.WaitStatus)
	g.Expect(status.Signaled() && status.Signal() == syscall.SIGPIPE || status.ExitStatus() == exitPipe).To(BeTrue(), "%v", status)
	g.Expect(complaints.String()).To(BeEmpty())
}
