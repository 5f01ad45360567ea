package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const (
	// stopGrace is how long calls under way may take when the plugin stops.
	stopGrace     = 10 * time.Second
	healthTimeout = 3 * time.Second
)

// serve runs both servers, the refreshes and the releases until ctx ends or a server fails.
func (d *Driver) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	logger := logr.FromContextOrDiscard(ctx)

	services := grpc.NewServer(grpc.UnaryInterceptor(logFailures(logger)))
	csi.RegisterIdentityServer(services, d)
	csi.RegisterNodeServer(services, d)
	// The kubelet calls the driver as soon as it finds the registration, so that comes second.
	registrar := grpc.NewServer()
	registration.RegisterRegistrationServer(registrar, &kubeletRegistration{driver: d, logger: logger})

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
	logger.Info(messageServing, keySocket, d.config.socket())

	var working sync.WaitGroup
	working.Go(func() { work(ctx, d.due, d.refreshVolume) })
	working.Go(func() { work(ctx, d.releaseDue, d.release) })
	working.Go(func() { d.follow(ctx) })
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

// stop lets calls under way finish: a publish that is cut off costs the kubelet a retry.
func stop(server *grpc.Server, logger logr.Logger) {
	timer := time.AfterFunc(stopGrace, func() {
		logger.Info(messageStopIncomplete)
		server.Stop()
	})
	defer timer.Stop()
	server.GracefulStop()
}

// listen takes over the socket that a killed process left. Two plugins never run on one node at the same time: the
// DaemonSet replaces, it does not surge.
func listen(socket string) (net.Listener, error) {
	info, err := os.Lstat(socket)
	switch {
	case err == nil && info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s is in the way: it is no socket", socket)
	case err == nil:
		err = os.Remove(socket)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	return listener, os.Chmod(socket, 0o600)
}

// logFailures logs each failed call once and turns its error into a gRPC status. Of the request it knows the volume and
// the pod: a NodePublishVolumeRequest carries tokens and is never printed.
func logFailures(logger logr.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		response, err := handle(logr.NewContext(ctx, logger), request)
		if err == nil {
			return response, nil
		}
		reason, sentence, toKubelet := answer(err)
		values := []any{keyMethod, path.Base(info.FullMethod), keyReason, reason, keySentence, sentence}
		if volume, ok := request.(interface{ GetVolumeId() string }); ok {
			values = append(values, keyVolume, volume.GetVolumeId())
		}
		if publish, ok := request.(*csi.NodePublishVolumeRequest); ok {
			volumeContext := publish.GetVolumeContext()
			values = append(values, keyPod, podIdentity{Namespace: volumeContext[keyPodNamespace], Name: volumeContext[keyPodName]})
		}
		logger.Info(messageCallFailed, values...)
		return nil, toKubelet
	}
}

// Healthz answers 200 if the CSI service answers on its socket, as the kubelet would find it.
func (d *Driver) Healthz(writer http.ResponseWriter, request *http.Request) {
	ctx, cancel := context.WithTimeout(request.Context(), healthTimeout)
	defer cancel()
	if err := d.probe(ctx); err != nil {
		http.Error(writer, "the CSI socket does not answer", http.StatusServiceUnavailable)
		return
	}
	_, _ = writer.Write([]byte("ok\n"))
}

func (d *Driver) probe(ctx context.Context) error {
	if _, err := os.Stat(d.config.registrationSocket()); err != nil {
		return err
	}
	connection, err := grpc.NewClient("unix://"+d.config.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	_, err = csi.NewIdentityClient(connection).Probe(ctx, &csi.ProbeRequest{})
	return err
}
