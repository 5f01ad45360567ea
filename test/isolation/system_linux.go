package isolation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"

	"sallyport.dev/sallyport/api/v1alpha1"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// replicas are as many as config/controller has.
const replicas = 2

// System is Sallyport as config/ ships it: the replicas of the controller and the node plugin of one node, beside a
// real API server and a real Vault. It needs the mount namespace of env.RunWithOwnMounts.
type System struct {
	*env.ControlPlane
	// Vault is the one that everybody shares, and Proxy stands in front of it and sees each request.
	Vault *env.Vault
	Proxy *env.Proxy
	// Node is the one node, and Kubelet its kubelet.
	Node    *env.Node
	Kubelet *env.Kubelet
	// Controllers are the replicas, and Plugin is the node plugin.
	Controllers []*env.Program
	Plugin      *env.Program
	// ResolverAddresses are where the replicas serve nodes.
	ResolverAddresses []string

	output string
	stops  []func() error
}

// Start starts everything and returns when volumes can be mounted. The programs' logs are written to a directory. The
// caller closes what it is given, even beside an error.
func Start(ctx context.Context, output string) (*System, error) {
	s := &System{output: output}
	if err := os.MkdirAll(output, 0o750); err != nil {
		return s, err
	}
	var err error
	if s.ControlPlane, err = env.StartControlPlane(ctx); err != nil {
		return s, err
	}
	s.onClose(s.Stop)
	if s.Vault, err = env.StartVault(ctx); err != nil {
		return s, err
	}
	s.onClose(func() error { s.Vault.Close(); return nil })
	if s.Proxy, err = env.StartProxy(s.Vault); err != nil {
		return s, err
	}
	s.onClose(func() error { s.Proxy.Close(); return nil })
	for i := range replicas {
		if err := s.startController(ctx, i); err != nil {
			return s, err
		}
	}
	err = s.startNode(ctx)
	return s, err
}

// onClose has Close do something before all that was given earlier.
func (s *System) onClose(stop func() error) { s.stops = append(s.stops, stop) }

// Close ends everything, the youngest first.
func (s *System) Close() error {
	var failures []error
	for _, stop := range slices.Backward(s.stops) {
		failures = append(failures, stop())
	}
	return errors.Join(failures...)
}

// startController runs the program as the manifest does, at an address of its own: nodes know the resolver's port,
// which is always the same.
func (s *System) startController(ctx context.Context, number int) error {
	name := fmt.Sprintf("sallyport-controller-%d", number)
	pod := builder.Pod(env.Namespace, name, builder.WithServiceAccount("sallyport-controller"))
	if err := s.Client.Create(ctx, pod); err != nil {
		return err
	}
	ip := fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()>>8%250, os.Getpid()%256, 1+number)
	metrics, err := env.FreeAddress()
	if err != nil {
		return err
	}
	resolver := fmt.Sprintf("%s:%d", ip, resolverv1.Port)
	program, err := s.StartProgram(env.ProgramOptions{
		Pod: name, Account: "sallyport-controller", Manifest: "controller/deployment.yaml", LogDirectory: s.output,
		Arguments: []string{
			"--pod-name=" + name, "--pod-namespace=" + env.Namespace, "--pod-ip=" + ip, "--resolver-bind-address=" + resolver,
			"--metrics-bind-address=" + metrics, "--health-probe-bind-address=0", "--allowed-vault-networks=127.0.0.0/8",
		},
	})
	if err != nil {
		return err
	}
	s.onClose(program.Stop)
	s.Controllers, s.ResolverAddresses = append(s.Controllers, program), append(s.ResolverAddresses, resolver)
	return s.WaitPublished(ctx, name)
}

func (s *System) startNode(ctx context.Context) (err error) {
	dir, removeDir, err := env.KubeletDir()
	if err != nil {
		return err
	}
	s.onClose(removeDir)
	if s.Node, err = s.CreateNode(ctx, "isolation"); err != nil {
		return err
	}
	token, err := s.Node.Token(ctx)
	if err != nil {
		return err
	}
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		return err
	}
	metrics, err := env.FreeAddress()
	if err != nil {
		return err
	}
	s.Plugin, err = s.StartProgram(env.ProgramOptions{
		Pod: "sallyport-node-isolation", Account: "sallyport-node", Manifest: "node/daemonset.yaml", LogDirectory: s.output,
		Arguments: []string{
			"--node-name=" + s.Node.Name, "--pod-namespace=" + env.Namespace, "--kubelet-dir=" + dir, "--token-file=" + tokenFile,
			"--metrics-bind-address=" + metrics,
		},
	})
	if err != nil {
		return err
	}
	s.onClose(func() error { return unmountSpool(dir) })
	s.onClose(s.Plugin.Stop)
	if s.Kubelet, err = s.NewKubelet(ctx, dir); err != nil {
		return err
	}
	s.onClose(s.Kubelet.Close)
	return nil
}

// restart has each replica begin anew, as when it is rolled out.
func (s *System) restart(ctx context.Context) error {
	for _, program := range s.Controllers {
		if err := program.Restart(); err != nil {
			return err
		}
		sleep(ctx, 3*time.Second)
	}
	return nil
}

// programs are all of Sallyport's processes.
func (s *System) programs() []*env.Program { return append([]*env.Program{s.Plugin}, s.Controllers...) }

// Ends is how often the programs have ended by themselves, and what is known of each time.
func (s *System) Ends() []string {
	var ends []string
	for _, program := range s.programs() {
		ends = append(ends, program.Ends()...)
	}
	return ends
}

// Memory is the most that a replica and the node plugin had since this was asked last, in bytes.
func (s *System) Memory() (controller, node int64) {
	for _, program := range s.Controllers {
		controller = max(controller, program.Peak())
	}
	return controller, s.Plugin.Peak()
}

// eventually tries something until it succeeds, some times a second.
func eventually(ctx context.Context, within time.Duration, do func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		last = do(ctx)
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(last, err)
	}
	return nil
}

// unmountSpool takes away what a node plugin leaves to its successor on purpose: the leases that it has not given back,
// such as those of a Vault that is gone. Volumes that are left are a failure.
func unmountSpool(kubeletDir string) error {
	err := unix.Unmount(filepath.Join(kubeletDir, "plugins", v1alpha1.DriverName, "releases"), 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // there were none
		return nil
	}
	return err
}
