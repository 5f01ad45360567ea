package scale

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"sallyport.dev/sallyport/internal/heap"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// cluster is what the nodes work with: API server, Vault, and two replicas of the controller as processes of their own,
// the program of bin/sallyport.
type cluster struct {
	*env.ControlPlane
	vault    *env.Vault
	issuer   *issuer
	replicas []*replica
	// memory tells the replicas' runtime what it may use, as the memory limit of a container does.
	memory string
}

func newCluster(t *testing.T, s size) *cluster {
	t.Helper()
	g := NewWithT(t)
	log.SetLogger(logr.Discard()) // of this process's clients; the replicas have logs of their own
	c := &cluster{issuer: newIssuer(t), memory: fmt.Sprintf("GOMEMLIMIT=%d", s.Memory<<20/100*heap.Percent)}
	var err error
	c.ControlPlane, err = env.StartControlPlane(t.Context(), c.issuer.configure)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = c.Stop() })
	c.vault, err = env.StartVault(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(c.vault.Close)
	for i := range 2 {
		r := c.newReplica(t, i)
		c.replicas = append(c.replicas, r)
		r.start(t)
	}
	return c
}

// replica is a replica of the controller, and what it has counted in its life, over all its processes.
type replica struct {
	cluster            *cluster
	name, metrics      string
	arguments          []string
	kubeconfig, output string

	mu      sync.Mutex
	process *exec.Cmd
	// former has the counters of processes that have ended, and latest what the present one said last.
	former, latest sample
}

func (c *cluster) newReplica(t *testing.T, number int) *replica {
	t.Helper()
	g := NewWithT(t)
	r := &replica{
		cluster: c, name: fmt.Sprintf("sallyport-controller-%d", number), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig"),
		output: outputDirectory(t), former: sample{}, latest: sample{},
	}
	g.Expect(c.Client.Create(t.Context(), builder.Pod(env.Namespace, r.name, builder.WithServiceAccount("sallyport-controller")))).To(Succeed())
	g.Expect(c.Kubeconfig(r.kubeconfig, "sallyport-controller", r.name)).To(Succeed())
	var err error
	r.metrics, err = env.FreeAddress()
	g.Expect(err).NotTo(HaveOccurred())
	// An address of its own: nodes know the resolver's port, which is always the same.
	ip := fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()>>8%250, os.Getpid()%256, 1+number)
	r.arguments = []string{
		"controller", "--pod-name=" + r.name, "--pod-namespace=" + env.Namespace, "--pod-ip=" + ip, "--metrics-bind-address=" + r.metrics,
		fmt.Sprintf("--resolver-bind-address=%s:%d", ip, resolverv1.Port), "--health-probe-bind-address=0", "--allowed-vault-networks=127.0.0.0/8",
	}
	t.Cleanup(r.kill)
	return r
}

// start starts the process and returns when nodes can find it.
func (r *replica) start(t *testing.T) {
	t.Helper()
	r.launch(t)
	NewWithT(t).Expect(r.cluster.WaitPublished(t.Context(), r.name)).To(Succeed())
	NewWithT(t).Eventually(r.look, 2*time.Minute, 100*time.Millisecond).Should(BeTrue())
}

func (r *replica) launch(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	program := os.Getenv("SALLYPORT_BINARY")
	g.Expect(program).NotTo(BeEmpty(), "SALLYPORT_BINARY is not set; run this with: make scale")
	output, err := os.OpenFile(filepath.Join(r.output, r.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = output.Close() }()
	command := exec.Command(program, r.arguments...)
	command.Env, command.Stdout, command.Stderr = []string{"KUBECONFIG=" + r.kubeconfig, r.cluster.memory}, output, output
	g.Expect(command.Start()).To(Succeed())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.process = command
}

// kill ends the process without a word, as the loss of its node does. What it has counted stays.
func (r *replica) kill() {
	r.look()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return
	}
	_ = r.process.Process.Kill()
	_ = r.process.Wait()
	r.process = nil
	r.former, r.latest = r.former.plus(r.latest), sample{}
}

// look takes over what the process counts. It returns false if there is none that answers.
func (r *replica) look() bool {
	response, err := (&http.Client{Timeout: 10 * time.Second}).Get("http://" + r.metrics + "/metrics")
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	now, err := parse(response.Body)
	if err != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest = now
	return true
}

// counted is what it has counted in its life, and gauge what the present process says.
func (r *replica) counted() sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.former.plus(r.latest)
}

func (r *replica) gauge(name string) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.latest[name]
}

// leads tells whether it runs the controllers.
func (r *replica) leads() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.latest.sum("leader_election_master_status") == 1
}
