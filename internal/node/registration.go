package node

import (
	"context"
	"sync/atomic"

	"github.com/go-logr/logr"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/node/logkeys"
)

// kubeletRegistration tells the kubelet, which watches the registration directory and calls, where the CSI service is.
type kubeletRegistration struct {
	registration.UnimplementedRegistrationServer
	socket     string
	registered *atomic.Bool
	accepted   func()
	logger     logr.Logger
}

// GetInfo names the driver and its socket. The path is the host's, and the container has the kubelet's directory at the
// same one.
func (k *kubeletRegistration) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              v1alpha1.DriverName,
		Endpoint:          k.socket,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus learns the outcome. After a refusal the kubelet calls again by itself, with back-off, for as
// long as the socket exists; leaving the process would only interrupt the refreshes of volumes that are mounted.
func (k *kubeletRegistration) NotifyRegistrationStatus(
	_ context.Context, status *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	k.registered.Store(status.GetPluginRegistered())
	if status.GetPluginRegistered() {
		k.logger.Info(messageRegistered, logkeys.Socket, k.socket)
		if k.accepted != nil {
			k.accepted()
		}
	} else {
		k.logger.Info(messageNotRegistered, logkeys.Sentence, status.GetError())
	}
	return &registration.RegistrationStatusResponse{}, nil
}
