package node

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const healthTimeout = 3 * time.Second

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
	connection, err := grpc.NewClient("unix://"+d.config.socket(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	_, err = csi.NewIdentityClient(connection).Probe(ctx, &csi.ProbeRequest{})
	return err
}
