package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// run runs a command where there is no cluster, and returns what it printed and how it ended.
func run(stdin string, args ...string) (out, complaints string, code int) {
	var written, complained bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &written, ErrOut: &complained}
	code = Main(append([]string{"--kubeconfig", "/does/not/exist"}, args...), streams, func(string) string { return "" })
	return written.String(), complained.String(), code
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
