//go:build linux

package sanity

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// front stands between csi-sanity and the driver. csi-sanity publishes only volumes that a controller service has
// created, and the driver has none: an ephemeral volume is created by the pod that mounts it. So front adds one that
// creates nothing and answers with what the kubelet would know of the volume. Every call to the node service goes to
// the driver unchanged.
type front struct {
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer

	socket     string
	given      fixture
	driver     csi.NodeClient
	identity   csi.IdentityClient
	connection *grpc.ClientConn
	server     *grpc.Server
}

func startFront(socket, driver string, given fixture) *front {
	connection, err := grpc.NewClient("unix://"+driver, grpc.WithTransportCredentials(insecure.NewCredentials()))
	Expect(err).NotTo(HaveOccurred())
	f := &front{
		socket: socket, given: given, connection: connection, server: grpc.NewServer(),
		driver: csi.NewNodeClient(connection), identity: csi.NewIdentityClient(connection),
	}
	csi.RegisterIdentityServer(f.server, frontIdentity{driver: f.identity})
	csi.RegisterControllerServer(f.server, f)
	csi.RegisterNodeServer(f.server, f)
	listener, err := net.Listen("unix", socket)
	Expect(err).NotTo(HaveOccurred())
	go func() { _ = f.server.Serve(listener) }()
	return f
}

func (f *front) ready() error {
	_, err := f.identity.Probe(context.Background(), &csi.ProbeRequest{})
	return err
}

func (f *front) stop() {
	f.server.Stop()
	_ = f.connection.Close()
}

// frontIdentity is the driver's identity, but claims the controller service.
type frontIdentity struct {
	csi.UnimplementedIdentityServer
	driver csi.IdentityClient
}

func (i frontIdentity) GetPluginInfo(ctx context.Context, r *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return i.driver.GetPluginInfo(ctx, r)
}

func (i frontIdentity) Probe(ctx context.Context, r *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return i.driver.Probe(ctx, r)
}

func (i frontIdentity) GetPluginCapabilities(ctx context.Context, r *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	own, err := i.driver.GetPluginCapabilities(ctx, r)
	if err != nil {
		return nil, err
	}
	own.Capabilities = append(own.Capabilities, &csi.PluginCapability{Type: &csi.PluginCapability_Service_{
		Service: &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE},
	}})
	return own, nil
}

func (f *front) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{{
		Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{
			Type: csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		}},
	}}}, nil
}

func (f *front) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId: "csi-" + strings.ToLower(r.GetName()), VolumeContext: f.given.volumeContext,
	}}, nil
}

func (f *front) DeleteVolume(context.Context, *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	return &csi.DeleteVolumeResponse{}, nil
}

func (f *front) NodeGetInfo(ctx context.Context, r *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return f.driver.NodeGetInfo(ctx, r)
}

func (f *front) NodeGetCapabilities(ctx context.Context, r *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return f.driver.NodeGetCapabilities(ctx, r)
}

// NodePublishVolume also checks the driver's own promise: never ready and empty, and never writable.
func (f *front) NodePublishVolume(ctx context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	response, err := f.driver.NodePublishVolume(ctx, r)
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

func (f *front) NodeUnpublishVolume(ctx context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	return f.driver.NodeUnpublishVolume(ctx, r)
}
