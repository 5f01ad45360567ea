package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	"google.golang.org/grpc"

	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/logkeys"
	"sallyport.dev/sallyport/internal/tracing"
)

// stopGrace is how long calls under way may take when the plugin stops.
const stopGrace = 10 * time.Second

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
// the pod: a NodePublishVolumeRequest carries tokens and is never printed. A call that panics is one that failed.
func logFailures(logger logr.Logger, tracer tracing.Tracer) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		ctx = logr.NewContext(tracer.Context(ctx), logger)
		var response any
		err := fault.Guard(ctx, func() (err error) {
			response, err = handle(ctx, request)
			return err
		})
		if err == nil {
			return response, nil
		}
		f, toKubelet := toStatus(err)
		values := []any{
			logkeys.Method, path.Base(info.FullMethod), logkeys.Reason, f.Reason, logkeys.Sentence, f.Message(),
		}
		if named, ok := request.(interface{ GetVolumeId() string }); ok {
			values = append(values, logkeys.Volume, named.GetVolumeId())
		}
		if publish, ok := request.(*csi.NodePublishVolumeRequest); ok {
			values = append(values, logkeys.Pod, podIn(publish.GetVolumeContext()))
		}
		logger.Info(messageCallFailed, values...)
		return nil, toKubelet
	}
}
