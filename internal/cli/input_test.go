package cli

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// run runs a command where there is no cluster, and returns what it printed and how it ended.
func run(stdin string, args ...string) (out, complaints string, code int) {
	var written bytes.Buffer
	complaints, code = runInto(&written, stdin, args...)
	return written.String(), complaints, code
}

// runInto is run with an output of its own.
func runInto(out io.Writer, stdin string, args ...string) (complaints string, code int) {
	var complained bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: out, ErrOut: &complained}
	code = Main(append([]string{"--kubeconfig", "/does/not/exist"}, args...), streams, func(string) string { return "" })
	return complained.String(), code
}

func TestFilesNeedNoCluster(t *testing.T) {
	class, err := os.ReadFile("migrate/testdata/secrets-store-csi/plain.yaml")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, row := range map[string]struct {
		args   []string
		stdin  string
		begins string
	}{
		"policy, of a file": {[]string{"policy", "-f", "../../config/samples/vaultconfig.yaml", "-n", "shop"}, "", "# VaultConfig shop/main at "},
		"policy, of a pipe": {[]string{"policy", "-f", "-"}, "apiVersion: sallyport.dev/v1alpha1\nkind: VaultConfig\n" +
			"metadata: {name: main}\nspec: {url: 'https://v', auth: {token: {secretKeyRef: {name: t, key: token}}}}\n", "# VaultConfig default/main at https://v\n"},
		"migrate, of a pipe": {[]string{"migrate", "-f", "-", "--vault-url", "https://v", "--vault-ca", "ca/ca.crt"}, string(class),
			"apiVersion: sallyport.dev/v1alpha1\nkind: VaultConfig\n"},
		"migrate, as patches": {[]string{"migrate", "-f", "migrate/testdata/secrets-store-csi/plain.yaml", "--patches", "-o", "json",
			"--vault-url", "https://v", "--vault-ca", "ca/ca.crt"}, "", "{\n  \"apiVersion\": \"v1\",\n"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			out, complaints, code := run(row.stdin, row.args...)
			g.Expect(code).To(BeNumerically("<=", exitWrong), complaints)
			g.Expect(out).To(HavePrefix(row.begins))
		})
	}
}

// Commands that ask a cluster say in one sentence that there is none.
func TestCommandsWithoutAClusterSaySo(t *testing.T) {
	for _, args := range [][]string{
		{"why", "pod/x"}, {"status"}, {"mounts"}, {"check"}, {"policy"}, {"migrate"}, {"render", "x"}, {"rerun", "vaulttask/x"},
		{"refresh", "connection/x"}, {"write", "path", "key", "--config", "main"}, {"open", "vaulttask/x", "-i", os.DevNull},
	} {
		t.Run(args[0], func(t *testing.T) {
			g := NewWithT(t)
			out, complaints, code := run("", args...)
			g.Expect(out).To(BeEmpty())
			g.Expect(complaints).To(Equal("kubectl sallyport: the kubeconfig is not usable: stat /does/not/exist: no such file or directory\n"))
			g.Expect(code).To(Equal(exitUnanswered))
		})
	}
}

func TestReportsOfMigrateGoWhereTheyAreAsked(t *testing.T) {
	g := NewWithT(t)
	report := filepath.Join(t.TempDir(), "report.txt")
	args := []string{"migrate", "-f", "migrate/testdata/agent-injector/rollout.yaml", "--vault-url", "https://v", "--vault-ca", "ca/ca.crt"}
	_, complaints, code := run("", append(args, "--report", report)...)
	g.Expect(code).To(Equal(exitWrong), "a ScaledJob has no equal")
	g.Expect(complaints).To(BeEmpty())
	written, err := os.ReadFile(report)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(written)).To(HavePrefix("no equal  ScaledJob shop/worker"))
	_, complaints, _ = run("", args...)
	g.Expect(complaints).To(Equal(string(written)))
	for sentence, wrong := range map[string][]string{
		"--vault-ca is CONFIGMAP/KEY":               {"migrate", "-f", "-", "--vault-ca", "x"},
		"--keys is SECRET=KEY,KEY":                  {"migrate", "-f", "-", "--keys", "x"},
		"--all-namespaces is for the cluster":       {"migrate", "-f", "-", "-A"},
		`-o knows yaml, json, not "wide"`:           {"migrate", "-f", "-", "-o", "wide"},
		`unknown command "x" for "kubectl sallypor`: {"migrate", "x"},
	} {
		_, complaints, code := run("", wrong...)
		g.Expect(complaints).To(ContainSubstring(sentence))
		g.Expect(code).To(Equal(exitUsage), sentence)
	}
}

// broken is an output that cannot be written to.
type broken struct{ error }

func (b broken) Write([]byte) (int, error) { return 0, b.error }

func TestAnOutputThatCannotBeWritten(t *testing.T) {
	g := NewWithT(t)
	for name, args := range map[string][]string{
		"migrate": {"migrate", "-f", "migrate/testdata/secrets-store-csi/plain.yaml", "--vault-url", "https://v", "--vault-ca", "ca/ca.crt"},
		"policy":  {"policy", "-f", "../../config/samples/vaultconfig.yaml"},
	} {
		complaints, code := runInto(broken{syscall.EPIPE}, "", args...)
		g.Expect(complaints).To(BeEmpty(), name)
		g.Expect(code).To(Equal(exitPipe), name)
		complaints, code = runInto(broken{syscall.ENOSPC}, "", args...)
		g.Expect(complaints).To(Equal("kubectl sallyport: the output cannot be written: no space left on device\n"), name)
		g.Expect(code).To(Equal(exitUnanswered), name)
	}
	_, complaints, code := run("", "migrate", "-f", "migrate/testdata/secrets-store-csi/plain.yaml", "--report", "/does/not/exist/report")
	g.Expect(complaints).To(Equal("kubectl sallyport: --report: open /does/not/exist/report: no such file or directory\n"))
	g.Expect(code).To(Equal(exitUnanswered))
}

// The API server, too, may close a connection that is written to.
func TestAPipeOfTheNetworkIsNotTheOutputs(t *testing.T) {
	g := NewWithT(t)
	var complaints bytes.Buffer
	p := &program{IOStreams: genericiooptions.IOStreams{ErrOut: &complaints}}
	lost := &url.Error{Op: "Post", URL: "https://api/x", Err: &net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}}
	g.Expect(p.exit(ended(fmt.Errorf("storing: %w", lost)))).To(Equal(exitUnanswered))
	g.Expect(complaints.String()).To(HavePrefix("kubectl sallyport: the API server cannot be reached: "))
}

func TestTheArgumentsOfWriteAreCheckedBeforeAnythingIsAskedFor(t *testing.T) {
	for sentence, row := range map[string]struct {
		given writeCommand
		path  string
		keys  []string
	}{
		"PATH is empty":           {writeCommand{config: "main"}, "", []string{"a"}},
		"a KEY is empty":          {writeCommand{config: "main"}, "p", []string{"a", ""}},
		`the key "a" is named`:    {writeCommand{config: "main"}, "p", []string{"a", "b", "a"}},
		"name keys only":          {writeCommand{config: "main"}, "p", []string{"a=b"}},
		`VaultConfig, not ""`:     {writeCommand{}, "p", []string{"a"}},
		`VaultConfig, not "a/"`:   {writeCommand{config: "a/"}, "p", []string{"a"}},
		`VaultConfig, not "/a"`:   {writeCommand{config: "/a"}, "p", []string{"a"}},
		`VaultConfig, not "a/b/c`: {writeCommand{config: "a/b/c"}, "p", []string{"a"}},
		"give one of both":        {writeCommand{config: "main", patch: true, overwrite: true}, "p", []string{"a"}},
	} {
		_, err := row.given.task("shop", row.path, row.keys)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(sentence)))
		NewWithT(t).Expect(err).To(BeAssignableToTypeOf(usageError{}), sentence)
	}
	for _, config := range []string{"main", "shop/main"} {
		given := writeCommand{config: config}
		NewWithT(t).Expect(given.task("shop", "p", []string{"a", "b"})).NotTo(BeNil())
	}
}

// What is cut off would be stored so.
func TestStandardInputIsReadAsAWholeOrNotAtAll(t *testing.T) {
	g := NewWithT(t)
	g.Expect(readFrom(strings.NewReader(strings.Repeat("x", maxInput)), "-")).To(HaveLen(maxInput))
	_, err := readFrom(strings.NewReader(strings.Repeat("x", maxInput+1)), "-")
	g.Expect(err).To(MatchError("standard input has more than 4 MiB"))
}

func TestWhatIsNoObjectOfSallyportsIsNamed(t *testing.T) {
	_, complaints, code := run("apiVersion: sallyport.dev/v1alpha1\nkind: Connection\nmetadata: {name: a, namespace: shop}\nspec: text\n", "policy", "-f", "-")
	g := NewWithT(t)
	g.Expect(complaints).To(HavePrefix("kubectl sallyport: the Connection shop/a is none that this plugin can read: "))
	g.Expect(strings.Count(complaints, "\n")).To(Equal(1))
	g.Expect(code).To(Equal(exitUnanswered))
}

func TestHelpIsForCommands(t *testing.T) {
	g := NewWithT(t)
	out, complaints, code := run("", "help", "why")
	g.Expect(out).To(ContainSubstring("Say why something is stuck"))
	g.Expect(complaints).To(BeEmpty())
	g.Expect(code).To(Equal(exitOK))
	_, complaints, code = run("", "help", "wy")
	g.Expect(complaints).To(Equal("kubectl sallyport: unknown command \"wy\" for \"kubectl sallyport\"; see kubectl sallyport --help\n"))
	g.Expect(code).To(Equal(exitUsage))
}

// kubectl asks __complete; what needs no cluster is completed without one.
func TestCompletion(t *testing.T) {
	for typed, wanted := range map[string][]string{
		"":                   {"why\t", "status\t", "mounts\t", "check\t", "policy\t", "render\t", "write\t", "open\t", "migrate\t", "rerun\t", "refresh\t"},
		"why ":               {"pod/\n", "deployment/\n", "cronjob/\n", "connection/\n", "vaultconfig/\n", "vaulttask/\n"},
		"why po":             {"pod/\n"},
		"rerun ":             {"vaulttask/\n"},
		"refresh ":           {"connection/\n", "vaultconfig/\n"},
		"status -o ":         {"json\n", "yaml\n", "wide\n"},
		"why pod/a pod/b ":   {":4\n"}, // no files
		"check ":             {":4\n"},
		"migrate --vault-ca": {"--vault-ca\t"},
	} {
		g := NewWithT(t)
		words := strings.Split(typed, " ")
		out, _, code := run("", append([]string{"__complete"}, words...)...)
		g.Expect(code).To(Equal(exitOK))
		for _, one := range wanted {
			g.Expect(out).To(ContainSubstring(one), "%q", typed)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		out, _, code := run("", "completion", shell)
		g := NewWithT(t)
		g.Expect(code).To(Equal(exitOK))
		g.Expect(out).To(ContainSubstring("__complete"), shell)
	}
}
