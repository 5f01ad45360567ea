package env

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/internal/app"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/test/builder"
)

// Controller is one replica of the controller, wired as the program wires it. It talks to the API server as the
// controller's service account, so that a right missing in config/rbac fails a test.
type Controller struct {
	// PodName is the replica's pod.
	PodName string
	// ResolverPort is the port of its resolver, on 127.0.0.1.
	ResolverPort int

	cancel context.CancelFunc
	done   chan error
}

// StartController starts a replica and returns when it is ready: when nodes can find its resolver. The pod object
// exists, because the leader removes certificates of pods that do not.
func (cp *ControlPlane) StartController(ctx context.Context, podName string, log logr.Logger, mutate ...func(*app.ControllerOptions)) (*Controller, error) {
	pod := builder.Pod(Namespace, podName, builder.WithServiceAccount("sallyport-controller"))
	if err := client.IgnoreAlreadyExists(cp.Client.Create(ctx, pod)); err != nil {
		return nil, err
	}
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	options := app.ControllerOptions{
		Config:             cp.As("system:serviceaccount:"+Namespace+":sallyport-controller", podName),
		PodName:            podName,
		PodNamespace:       Namespace,
		PodIP:              "127.0.0.1",
		NodeServiceAccount: "sallyport-node",
		// Vault and proxies of the tests.
		AllowedVaultNetworks: []string{"127.0.0.0/8", "::1"},
		MetricsAddress:       "0",
		ProbeAddress:         "0",
		ResolverAddress:      address,
		SkipNameValidation:   true,
	}
	for _, m := range mutate {
		m(&options)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	mgr, err := app.NewController(ctx, options, log)
	if err != nil {
		cancel()
		return nil, err
	}
	former, err := cp.published(ctx, podName) // of a replica of this name that crashed
	if err != nil {
		cancel()
		return nil, err
	}
	c := &Controller{PodName: podName, ResolverPort: port, cancel: cancel, done: make(chan error, 1)}
	go func() { c.done <- mgr.Start(ctx) }()
	if err := cp.waitPublished(ctx, podName, former); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// WaitPublished is what the readiness probe of a replica is for in a cluster: whoever asks earlier is told that there is
// no resolver.
func (cp *ControlPlane) WaitPublished(ctx context.Context, podName string) error {
	return cp.waitPublished(ctx, podName, "")
}

// published is the certificate under the name of a replica; empty if there is none.
func (cp *ControlPlane) published(ctx context.Context, podName string) (string, error) {
	configMap := &corev1.ConfigMap{}
	err := cp.Client.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: resolverv1.ConfigMapName}, configMap)
	return configMap.Data[podName], client.IgnoreNotFound(err)
}

func (cp *ControlPlane) waitPublished(ctx context.Context, podName, former string) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		certificate, err := cp.published(ctx, podName)
		return certificate != "" && certificate != former, err
	})
	if err != nil {
		return fmt.Errorf("waiting for replica %s to publish its certificate: %w", podName, err)
	}
	return nil
}

// Stop ends the replica as a signal would and returns the error that it stopped with.
func (c *Controller) Stop() error {
	c.cancel()
	return <-c.done
}

// As returns a configuration that acts as a user; a pod name, if any, stands in the user's token as for a pod-bound
// one.
func (cp *ControlPlane) As(user, podName string, groups ...string) *rest.Config {
	config := rest.CopyConfig(cp.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	if podName != "" {
		config.Impersonate.Extra = map[string][]string{"authentication.kubernetes.io/pod-name": {podName}}
	}
	return config
}
