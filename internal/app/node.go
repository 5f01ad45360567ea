package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node"
	"sallyport.dev/sallyport/internal/resolver/client"
)

type nodeMode struct {
	nodeName       string
	namespace      string
	kubeletDir     string
	tokenFile      string
	memoryBudget   int64
	metricsAddress string
	startupTaint   bool
}

func (m *nodeMode) flags(set *flag.FlagSet) {
	set.StringVar(&m.nodeName, "node-name", fromEnvironment("NODE_NAME"), "name of this Node")
	set.StringVar(&m.namespace, "pod-namespace", fromEnvironment("POD_NAMESPACE"), "namespace of Sallyport, where the resolvers publish themselves")
	set.StringVar(&m.kubeletDir, "kubelet-dir", node.DefaultKubeletDir, "the kubelet's root directory, mounted here at the same path")
	set.StringVar(&m.tokenFile, "token-file", "/var/run/secrets/sallyport.dev/token", "projected service account token of this pod with audience sallyport.dev/node")
	set.Int64Var(&m.memoryBudget, "memory-budget", node.DefaultMemoryBudget, "bytes that the files of all volumes of this node may take together, counted in pages")
	set.BoolVar(&m.startupTaint, "remove-startup-taint", false, "take the taint "+v1alpha1.StartupTaint+" off this Node once the kubelet has accepted the driver")
	set.StringVar(&m.metricsAddress, "metrics-bind-address", ":8080", "address of the endpoints /metrics and /healthz")
}

func (m *nodeMode) validate() error {
	switch {
	case m.nodeName == "":
		return errors.New("--node-name (or NODE_NAME) must be set")
	case m.namespace == "":
		return errors.New("--pod-namespace (or POD_NAMESPACE) must be set")
	}
	return nil
}

// reservedMemory is for the files of the volumes: the kernel charges a tmpfs to the container that writes to it.
func (m *nodeMode) reservedMemory() int64 { return m.fittingBudget() + node.MemoryBesideBudget }

// fittingBudget is the budget, or less if the container's memory limit leaves no room for it.
func (m *nodeMode) fittingBudget() int64 {
	limit, limited := cgroupLimit(cgroupRoot)
	if !limited {
		return m.memoryBudget
	}
	return node.FittingBudget(m.memoryBudget, limit)
}

func (m *nodeMode) run(ctx context.Context, log logr.Logger) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the Kubernetes API: %w", err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a Kubernetes client: %w", err)
	}
	exporter, err := startTracing(ctx, "sallyport-node", m.nodeName, log)
	if err != nil {
		return err
	}
	defer exporter.Stop(ctx)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	resolver := client.New(client.Config{
		Kubernetes: clients,
		Namespace:  m.namespace,
		NodeName:   m.nodeName,
		TokenFile:  m.tokenFile,
	})
	budget := m.fittingBudget()
	if budget < m.memoryBudget {
		log.Info("The container's memory limit leaves less for volumes than --memory-budget", "bytes", budget)
	}
	taint := newStartupTaint(clients.CoreV1().Nodes(), m.nodeName, log)
	driver, err := node.New(node.Config{
		NodeName:     m.nodeName,
		Version:      version,
		Resolver:     resolver,
		Changes:      resolver,
		Registry:     registry,
		KubeletDir:   m.kubeletDir,
		MemoryBudget: budget,
		Registered:   taint.registered,
		// Another one after each start: what came together need not come together for ever.
		RefreshOffset: rand.N(time.Second), //nolint:gosec // no secret
	})
	if err != nil {
		return err
	}
	endpoints := http.NewServeMux()
	endpoints.HandleFunc("/healthz", driver.Healthz)
	endpoints.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))

	group, ctx := errgroup.WithContext(exporter.Context(logr.NewContext(ctx, log)))
	group.Go(func() error { return resolver.Run(ctx) })
	group.Go(func() error { return driver.Run(ctx) })
	if m.startupTaint {
		go fault.Guarded(ctx, func() { taint.run(ctx) })()
	}
	group.Go(func() error { return serveHTTP(ctx, m.metricsAddress, endpoints) })
	return group.Wait()
}
