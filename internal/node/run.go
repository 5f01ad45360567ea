package node

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"sallyport.dev/sallyport/internal/node/logkeys"
	"sallyport.dev/sallyport/internal/tracing"
)

// Run recovers the volumes that are mounted, cleans up what was left half done, serves CSI, registers with the kubelet,
// refreshes the volumes and has leases revoked until ctx ends or a server fails. Calls under way then get some seconds
// to finish; volumes stay mounted. A Driver runs once.
func (d *Driver) Run(ctx context.Context) error {
	if err := d.prepare(); err != nil {
		return fmt.Errorf("node plugin: %w", err)
	}
	logger := logr.FromContextOrDiscard(ctx).WithName("node")
	ctx = logr.NewContext(ctx, logger)
	if err := d.revocations.Resume(ctx); err != nil {
		return fmt.Errorf("node plugin: looking for leases to give back: %w", err)
	}
	if err := d.recoverVolumes(ctx); err != nil {
		return fmt.Errorf("node plugin: looking for mounted volumes: %w", err)
	}
	err := d.serve(ctx)
	if err := d.spool.Close(d.store.RemoveMountPoint); err != nil {
		logger.Error(err, messageCleanupFailed, logkeys.Path, d.config.spoolDir())
	}
	if err != nil {
		return fmt.Errorf("node plugin: %w", err)
	}
	return nil
}

// prepare makes the directories, and refuses to work where pods would not see the mounts: they would start with an
// empty volume.
func (d *Driver) prepare() error {
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{
		{d.config.PluginDir, 0o750},
		{d.config.RegistrationDir, 0o750},
		{d.config.volumesDir(), 0o700},
		{d.config.spoolDir(), 0o700},
	} {
		if err := os.MkdirAll(dir.path, dir.mode); err != nil {
			return err
		}
	}
	// Other users of the node have no business among the volumes; the pods' own way leads through their target paths.
	if err := os.Chmod(d.config.volumesDir(), 0o700); err != nil {
		return err
	}
	for _, dir := range []string{d.config.volumesDir(), d.config.podsDir()} {
		shared, err := d.config.Mounter.Shared(dir)
		if err != nil {
			return err
		}
		if !shared {
			return fmt.Errorf("mounts below %s would not reach the pods: mount it with mountPropagation: Bidirectional", dir)
		}
	}
	return d.spool.Mount(d.config.Mounter)
}

// serve runs both servers, the refreshes and the revocations until ctx ends or a server fails.
func (d *Driver) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	logger := logr.FromContextOrDiscard(ctx)

	services := grpc.NewServer(grpc.UnaryInterceptor(logFailures(logger, tracing.Of(ctx))))
	csi.RegisterIdentityServer(services, identityServer{version: d.config.Version})
	csi.RegisterNodeServer(services, d)
	// The kubelet calls the driver as soon as it finds the registration, so that comes second.
	registrar := grpc.NewServer()
	registration.RegisterRegistrationServer(registrar, &kubeletRegistration{
		socket: d.config.socket(), registered: &d.registered, accepted: d.config.Registered, logger: logger,
	})

	failed := make(chan error, 2)
	for _, server := range []struct {
		*grpc.Server
		socket string
	}{{services, d.config.socket()}, {registrar, d.config.registrationSocket()}} {
		listener, err := listen(server.socket)
		if err != nil {
			services.Stop()
			return err
		}
		go func() { failed <- server.Serve(listener) }()
	}
	logger.Info(messageServing, logkeys.Socket, d.config.socket())

	var working sync.WaitGroup
	working.Go(func() { d.refresher.Run(ctx) })
	working.Go(func() { d.revocations.Run(ctx) })
	var err error
	select {
	case <-ctx.Done():
		logger.Info(messageStopping)
	case err = <-failed:
		err = fmt.Errorf("serving: %w", err)
	}
	cancel()
	registrar.Stop()
	stop(services, logger)
	working.Wait()
	return err
}
