package bench

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/log"

	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

const replica = "sallyport-controller-0"

// system is the system under test: API server, Vault behind a proxy that counts, and one replica of the controller as a
// process of its own, the program of bin/sallyport.
type system struct {
	*env.ControlPlane
	vault   *env.Vault
	proxy   *env.Proxy
	metrics string
	// controller is the process of the replica.
	controller *os.Process
}

func newSystem(t *testing.T) *system {
	t.Helper()
	g := NewWithT(t)
	log.SetLogger(logr.Discard()) // of this process's clients; the programs that are measured have logs of their own
	s := &system{}
	var err error
	s.ControlPlane, err = env.StartControlPlane(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = s.Stop() })
	s.vault, err = env.StartVault(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(s.vault.Close)
	s.proxy, err = env.StartProxy(s.vault)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(s.proxy.Close)
	s.startController(t)
	return s
}

// startController runs the program as the manifests do, with the rights of its service account.
func (s *system) startController(t *testing.T) {
	t.Helper()
	pod := builder.Pod(env.Namespace, replica, builder.WithServiceAccount("sallyport-controller"))
	NewWithT(t).Expect(s.Client.Create(t.Context(), pod)).To(Succeed())
	s.launchController(t)
}

// launchController starts the process of the replica.
func (s *system) launchController(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	s.metrics = freeAddress(t)
	// An address of this process's own: nodes know the resolver's port, which is always the same.
	ip := fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()>>16%250, os.Getpid()>>8%256, 1+os.Getpid()%250)
	s.controller = s.startProgram(t, "", "sallyport-controller", replica, "controller",
		"--pod-name="+replica, "--pod-namespace="+env.Namespace, "--pod-ip="+ip, "--leader-elect=false", "--allowed-vault-networks=127.0.0.0/8",
		"--metrics-bind-address="+s.metrics, "--health-probe-bind-address=0", fmt.Sprintf("--resolver-bind-address=%s:%d", ip, resolverv1.Port))
	g.Eventually(func() error {
		_, err := scrape(t, s.metrics)
		return err
	}, time.Minute).Should(Succeed())
}

// startProgram starts the program in one of its modes, with the rights of a service account and a pod of Sallyport's;
// it ends with the measurement. Its log lies beside the figures.
func (s *system) startProgram(t *testing.T, suffix, account, pod string, arguments ...string) *os.Process {
	t.Helper()
	g := NewWithT(t)
	program := os.Getenv("SALLYPORT_BINARY")
	g.Expect(program).NotTo(BeEmpty(), "SALLYPORT_BINARY is not set; run the measurements with: make bench")
	log, err := os.Create(filepath.Join(outputDirectory(t), t.Name()+suffix+".log"))
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = log.Close() })
	command := exec.Command(program, arguments...)
	command.Env = []string{"KUBECONFIG=" + s.kubeconfig(t, account, pod)}
	command.Stdout, command.Stderr = log, log
	g.Expect(command.Start()).To(Succeed())
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		_ = command.Wait()
	})
	return command.Process
}

// kubeconfig makes a file for a service account of Sallyport's, as the token of one of its pods would act.
func (s *system) kubeconfig(t *testing.T, account, pod string) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: s.Config.Host, CertificateAuthorityData: s.Config.CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: s.Config.CertData, ClientKeyData: s.Config.KeyData,
		Impersonate: "system:serviceaccount:" + env.Namespace + ":" + account, ImpersonateGroups: []string{"system:authenticated"},
		ImpersonateUserExtra: map[string][]string{"authentication.kubernetes.io/pod-name": {pod}},
	}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	NewWithT(t).Expect(clientcmd.WriteToFile(*config, file)).To(Succeed())
	return file
}

// sample is one look at the figures of a Prometheus endpoint: value by metric, with its labels as they are written.
type sample map[string]float64

// scrape reads the metrics that a program serves at an address.
func scrape(t *testing.T, address string) (sample, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	return parse(string(content)), nil
}

// apiServer reads the API server's metrics.
func (s *system) apiServer(ctx context.Context) (sample, error) {
	content, err := s.Clients.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	return parse(string(content)), err
}

func parse(text string) sample {
	found := sample{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, value, ok := cutLast(line, " "); ok && !strings.HasPrefix(line, "#") {
			if number, err := strconv.ParseFloat(value, 64); err == nil {
				found[name] = number
			}
		}
	}
	return found
}

// requests adds up what the API server counted for requests of some verbs and one resource; for all of them, if it is
// empty.
func (s sample) requests(resource string, verbs ...string) float64 {
	var sum float64
	for name, value := range s {
		if !strings.HasPrefix(name, "apiserver_request_total{") || (resource != "" && !strings.Contains(name, `resource="`+resource+`"`)) {
			continue
		}
		for _, verb := range verbs {
			if strings.Contains(name, `verb="`+verb+`"`) {
				sum += value
			}
		}
	}
	return sum
}

// counts adds up what the proxy in front of Vault counted, by the kind of request.
func (s *system) counts() (health, renewals, all float64) {
	for request, count := range maps.All(s.proxy.Counts()) {
		all += float64(count)
		switch request {
		case "GET sys/health":
			health += float64(count)
		case "POST auth/token/renew-self":
			renewals += float64(count)
		}
	}
	return health, renewals, all
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := env.FreeAddress()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return address
}

// setting is a positive number from the environment.
func setting(t *testing.T, name string, byDefault int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return byDefault
	}
	number, err := strconv.Atoi(text)
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), fmt.Sprintf("%s must be a number", name))
	return number
}
