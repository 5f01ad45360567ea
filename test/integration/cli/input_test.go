package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"sallyport.dev/sallyport/internal/cli"
)

// asks are the commands, each with arguments that would do.
var asks = [][]string{
	{"why", "connection/oracle"},
	{"status"},
	{"mounts"},
	{"rerun", "vaulttask/task"},
	{"suspend", "vaulttask/task"},
	{"resume", "vaultconfig/main"},
	{"refresh", "connection/oracle"},
	{"policy"},
	{"render", "connection/oracle"},
	{"write", "path", "key", "--config", "main", "--generate", "--timeout", "1s"},
	{"open", "vaulttask/task", "-i", os.DevNull},
}

var (
	// reviews say of each thing that it may not be looked at, and so do not end for want of rights.
	reviews = [][]string{{"check"}}
	// strangers need nothing of Sallyport's in the cluster.
	strangers = [][]string{{"migrate"}}
)

func eachCommand(commands [][]string, check func(args ...string)) {
	for _, args := range commands {
		By(args[0])
		check(args...)
	}
}

var _ = Describe("kubectl sallyport", func() {
	It("says in one sentence that there is no cluster", func() {
		gone := write(&rest.Config{Host: "https://127.0.0.1:1"})
		eachCommand(slices.Concat(asks, reviews, strangers), func(args ...string) {
			r := run(append(args, "--kubeconfig", gone)...)
			Expect(oneSentence(r)).To(ContainSubstring("the API server cannot be reached"))
			Expect(r.Code).To(Equal(3))
		})
		r := run("why", "pod/x", "--kubeconfig", "/does/not/exist")
		Expect(oneSentence(r)).To(ContainSubstring("the kubeconfig is not usable: stat /does/not/exist"))
		Expect(r.Code).To(Equal(3))
		empty := filepath.Join(GinkgoT().TempDir(), "empty")
		Expect(os.WriteFile(empty, nil, 0o600)).To(Succeed())
		r = run("why", "pod/x", "--kubeconfig", empty)
		Expect(oneSentence(r)).To(ContainSubstring("there is no cluster"))
		Expect(r.Code).To(Equal(3))
	})

	It("says in one sentence that there are no rights", func() {
		eachCommand(slices.Concat(asks, strangers), func(args ...string) {
			r := run(append(args, "--as", "nobody")...)
			Expect(oneSentence(r)).To(And(ContainSubstring(`"nobody" cannot`), ContainSubstring("cluster role view")))
			Expect(r.Code).To(Equal(3))
		})
	})

	It("says in one sentence that Sallyport is not installed, or an old one", func() {
		bare := &envtest.Environment{}
		config, err := bare.Start()
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { Expect(bare.Stop()).To(Succeed()) })
		path := write(config)
		eachCommand(slices.Concat(asks, reviews), func(args ...string) {
			r := run(append(args, "--kubeconfig", path)...)
			Expect(oneSentence(r)).To(ContainSubstring("Sallyport is not installed, or older than this plugin"))
			Expect(r.Code).To(Equal(3))
		})
	})

	DescribeTable("says in one sentence what is wrong with its arguments", func(code int, sentence string, args ...string) {
		r := run(args...)
		Expect(oneSentence(r)).To(ContainSubstring(sentence))
		Expect(r.Code).To(Equal(code))
	},
		Entry("an unknown command", 2, `unknown command "wy"`, "wy"),
		Entry("an unknown flag", 2, "unknown flag: --al", "why", "pod/x", "--al"),
		Entry("an unknown kind", 2, `there is no kind "service" here; it is one of pod, deployment,`, "why", "service/x"),
		Entry("no name", 2, "the argument is KIND/NAME", "why", "pod/"),
		Entry("no arguments", 2, "accepts between 1 and 2 arg(s)", "why"),
		Entry("an unknown format", 2, `-o knows json, yaml, wide, not "xml"`, "why", "pod/x", "-o", "xml"),
		Entry("an object that does not exist", 3, `pods "x" not found`, "why", "pod/x"),
		Entry("a context that does not exist", 3, `context "nowhere" does not exist`, "why", "pod/x", "--context", "nowhere"),
	)

	It("ends like others when nobody reads on", func() {
		namespace := newNamespace()
		readyConfig(namespace)
		var complaints bytes.Buffer
		streams := genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: closedPipe{}, ErrOut: &complaints}
		code := cli.Main([]string{"--kubeconfig", kubeconfig, "-n", namespace, "why", "vaultconfig/main"}, streams, func(string) string { return "" })
		Expect(complaints.String()).To(BeEmpty())
		Expect(code).To(Equal(141))
	})

	It("completes kinds and names", func() {
		namespace := newNamespace()
		readyConfig(namespace)
		Expect(run("__complete", "why", "vaultc").Out).To(ContainSubstring("vaultconfig/\n"))
		Expect(run("__complete", "-n", namespace, "why", "vaultconfig/").Out).To(HavePrefix("vaultconfig/main\n"))
		Expect(run("completion", "bash").Code).To(Equal(0))
	})
})

// closedPipe is a pipe whose reader is gone.
type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }
