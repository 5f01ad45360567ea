package env

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Program is the program that users run, as a process in a cgroup with the memory limit of its container. If it ends by
// itself, it is started again in the same cgroup, as a kubelet would do: files on a tmpfs that the former process wrote
// count for it, as they count for a pod.
type Program struct {
	// Name is that of its pod.
	Name string

	cgroup    *Cgroup
	command   func() *exec.Cmd
	log       *os.File
	stop      chan struct{}
	supervise chan struct{}

	mu      sync.Mutex
	process *os.Process
	// wanted is whether the next end is one that Restart asked for.
	wanted bool
	ends   []string
	peak   int64
}

// ProgramOptions say what program to run.
type ProgramOptions struct {
	// Pod is the name of the pod that it runs in, and Account the service account of that.
	Pod, Account string
	// Manifest below config/ has its arguments, its environment and its memory limit.
	Manifest string
	// Arguments are more of them.
	Arguments []string
	// LogDirectory is where its log is written, as POD.log.
	LogDirectory string
}

// programBinary is where the variable of that name says.
func programBinary() (string, error) {
	binary := os.Getenv("SALLYPORT_BINARY")
	if binary == "" {
		return "", fmt.Errorf("SALLYPORT_BINARY is not set; run the tests with: make test-isolation")
	}
	return binary, nil
}

// restartDelay is shorter than a kubelet's: what happens after an end interests nobody, that it happened does.
const restartDelay = time.Second

// StartProgram starts the program with the rights of its service account. Stop ends it.
func (cp *ControlPlane) StartProgram(options ProgramOptions) (_ *Program, err error) {
	binary, err := programBinary()
	if err != nil {
		return nil, err
	}
	container, err := ShippedContainer(options.Manifest)
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(options.LogDirectory, options.Pod+".kubeconfig")
	if err := cp.Kubeconfig(kubeconfig, options.Account, options.Pod); err != nil {
		return nil, err
	}
	p := &Program{Name: options.Pod, stop: make(chan struct{}), supervise: make(chan struct{})}
	if p.log, err = os.Create(filepath.Join(options.LogDirectory, options.Pod+".log")); err != nil {
		return nil, err
	}
	if p.cgroup, err = NewCgroup(fmt.Sprintf("%s-%d", options.Pod, os.Getpid()), container.MemoryLimit()); err != nil {
		return nil, err
	}
	p.command = func() *exec.Cmd {
		// The shell enters the cgroup before it becomes the program, so that all of its memory counts.
		enter := []string{"-c", `echo $$ >"$0" && exec "$@"`, p.cgroup.procs(), binary}
		command := exec.Command("/bin/sh", append(append(enter, container.Arguments()...), options.Arguments...)...)
		command.Env = append(container.Environment(), "KUBECONFIG="+kubeconfig)
		command.Stdout, command.Stderr = p.log, p.log
		return command
	}
	exited, err := p.start()
	if err != nil {
		return nil, err
	}
	go p.run(exited)
	return p, nil
}

func (p *Program) start() (<-chan struct{}, error) {
	command := p.command()
	exited, err := startChild(command)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.Name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process = command.Process
	return exited, nil
}

// run starts the program again whenever it ends, and looks at its memory.
func (p *Program) run(exited <-chan struct{}) {
	defer close(p.supervise)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			p.mu.Lock()
			p.peak = max(p.peak, p.cgroup.Used())
			p.mu.Unlock()
			continue
		case <-exited:
		}
		select {
		case <-p.stop:
			return
		default:
		}
		p.ended()
		select {
		case <-p.stop:
			return
		case <-time.After(restartDelay):
		}
		var err error
		if exited, err = p.start(); err != nil {
			return
		}
	}
}

// ended notes that the program has ended by itself.
func (p *Program) ended() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted {
		p.wanted = false
		return
	}
	p.ends = append(p.ends, fmt.Sprintf("%s ended at %s; the kernel has killed %d for lack of memory", p.Name,
		time.Now().Format(time.TimeOnly), p.cgroup.Kills()))
}

// Ends is how often, and what is known of each time, the program has ended by itself.
func (p *Program) Ends() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.ends...)
}

// Used is how many bytes it has now.
func (p *Program) Used() int64 { return p.cgroup.Used() }

// Peak is the most that it had since it was asked last.
func (p *Program) Peak() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	peak := p.peak
	p.peak = 0
	return peak
}

// Restart ends the process as a kubelet would, and has it started again.
func (p *Program) Restart() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = true
	return p.process.Signal(syscall.SIGTERM)
}

func (p *Program) signal(signal os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.process.Signal(signal)
}

// Stop ends the program for good.
func (p *Program) Stop() error {
	close(p.stop)
	p.signal(os.Interrupt)
	select {
	case <-p.supervise:
	case <-time.After(15 * time.Second):
		p.signal(syscall.SIGKILL)
		<-p.supervise
	}
	_ = p.log.Close()
	return p.cgroup.Close()
}

// Kubeconfig writes a file for a service account of Sallyport's, with which a program acts as with the token of one of
// its pods.
func (cp *ControlPlane) Kubeconfig(file, account, pod string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: cp.Config.Host, CertificateAuthorityData: cp.Config.CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: cp.Config.CertData, ClientKeyData: cp.Config.KeyData,
		Impersonate: "system:serviceaccount:" + Namespace + ":" + account, ImpersonateGroups: []string{"system:authenticated"},
		ImpersonateUserExtra: map[string][]string{"authentication.kubernetes.io/pod-name": {pod}},
	}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	return clientcmd.WriteToFile(*config, file)
}
