package env

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"sallyport.dev/sallyport/internal/node"
	"sallyport.dev/sallyport/internal/resolver/client"
)

// Plugin is the node plugin of a Node with its real driver and real mounts, and the kubelet that calls it. It asks one
// replica of the controller. It needs the mount namespace of RunWithOwnMounts.
type Plugin struct {
	*Kubelet

	// Registry has the driver's metrics.
	Registry *prometheus.Registry

	stop func() error
}

// StartPlugin starts the plugin and returns when it serves. The caller stops it, after it has unpublished all volumes.
func (n *Node) StartPlugin(ctx context.Context, replica *Controller, log logr.Logger) (*Plugin, error) {
	dir, removeDir, err := KubeletDir()
	if err != nil {
		return nil, err
	}
	token, err := n.Token(ctx)
	if err != nil {
		return nil, err
	}
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		return nil, err
	}
	resolver := client.New(client.Config{
		Kubernetes: n.cp.Clients, Namespace: Namespace, NodeName: n.Name, Port: replica.ResolverPort, TokenFile: tokenFile,
	})
	p := &Plugin{Registry: prometheus.NewRegistry()}
	driver, err := node.New(node.Config{
		NodeName: n.Name, Version: "test", Resolver: resolver, Changes: resolver, Registry: p.Registry, KubeletDir: dir,
	})
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(logr.NewContext(context.WithoutCancel(ctx), log))
	asked, served := make(chan error, 1), make(chan error, 1)
	go func() { asked <- resolver.Run(running) }()
	go func() { served <- driver.Run(running) }()
	if p.Kubelet, err = n.cp.NewKubelet(ctx, dir); err != nil {
		cancel()
		return nil, errors.Join(err, <-served, <-asked, removeDir())
	}
	p.stop = func() error {
		cancel()
		return errors.Join(<-served, <-asked, p.Close(), removeDir())
	}
	return p, nil
}

// Stop ends the plugin as a signal would. It fails if a volume is still mounted.
func (p *Plugin) Stop() error { return p.stop() }
