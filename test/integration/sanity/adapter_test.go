//go:build linux

package sanity

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// adapter stands between csi-sanity and the driver. csi-sanity publishes only volumes that a controller service has
// created, and the driver has none: an ephemeral volume is created by the pod that mounts it. So the adapter adds one
// that creates nothing and answers with what the kubelet would know of the volume. Every call to the node service goes
// to the driver unchanged.
type adapter struct {
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer

	socket     string
	given      fixture
	driver     csi.NodeClient
	identity   csi.IdentityClient
	connection *grpc.ClientConn
	server     *grpc.Server
}

func startAdapter(socket, driver string, given fixture) *adapter {
	connection, err := grpc.NewClient("unix://"+driver, grpc.WithTransportCredentials(insecure.NewCredentials()))
	Expect(err).NotTo(HaveOccurred())
	a := &adapter{
		socket: socket, given: given, connection: connection, server: grpc.NewServer(),
		driver: csi.NewNodeClient(connection), identity: csi.NewIdentityClient(connection),
	}
	csi.RegisterIdentityServer(a.server, adapterIdentity{driver: a.identity})
	csi.RegisterControllerServer(a.server, a)
	csi.RegisterNodeServer(a.server, a)
	listener, err := net.Listen("unix", socket)
	Expect(err).NotTo(HaveOccurred())
	go func() { _ = a.server.Serve(listener) }()
	return a
}

func (a *adapter) ready() error {
	_, err := a.identity.Probe(context.Background(), &csi.ProbeRequest{})
	return err
}

func (a *adapter) stop() {
	a.server.Stop()
	_ = a.connection.Close()
}

// adapterIdentity is the driver's identity, but claims the controller service.
type adapterIdentity struct {
	csi.UnimplementedIdentityServer
	driver csi.IdentityClient
}

func (i adapterIdentity) GetPluginInfo(ctx context.Context, r *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return i.driver.GetPluginInfo(ctx, r)
}

func (i adapterIdentity) Probe(ctx context.Context, r *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return i.driver.Probe(ctx, r)
}

func (i adapterIdentity) GetPluginCapabilities(ctx context.Context, r *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	own, err := i.driver.GetPluginCapabilities(ctx, r)
	if err != nil {
		return nil, err
	}
	own.Capabilities = append(own.Capabilities, &csi.PluginCapability{Type: &csi.PluginCapability_Service_{
		Service: &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE},
	}})
	return own, nil
}

func (a *adapter) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{{
		Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{
			Type: csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		}},
	}}}, nil
}

func (a *adapter) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId: a.given.volumeID, VolumeContext: a.given.volumeContext,
	}}, nil
}

func (a *adapter) DeleteVolume(context.Context, *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	return &csi.DeleteVolumeResponse{}, nil
}

func (a *adapter) NodeGetInfo(ctx context.Context, r *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return a.driver.NodeGetInfo(ctx, r)
}

func (a *adapter) NodeGetCapabilities(ctx context.Context, r *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return a.driver.NodeGetCapabilities(ctx, r)
}

// NodePublishVolume also checks the driver's own promise: never ready and empty, and never writable.
func (a *adapter) NodePublishVolume(ctx context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	response, err := a.driver.NodePublishVolume(ctx, r)
	if err != nil {
		return nil, err
	}
	return response, checkMounted(r.GetTargetPath())
}

func checkMounted(target string) error {
	content, err := os.ReadFile(target + "/type")
	if err != nil || len(content) == 0 {
		return status.Error(codes.DataLoss, fmt.Sprintf("the volume was reported ready and has no content: %v", err))
	}
	if os.WriteFile(target+"/new", nil, 0o600) == nil {
		return status.Error(codes.DataLoss, "the volume can be written to")
	}
	return nil
}

func (a *adapter) NodeUnpublishVolume(ctx context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	return a.driver.NodeUnpublishVolume(ctx, r)
}
