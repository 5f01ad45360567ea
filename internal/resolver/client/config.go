package client

import (
	"net"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	defaultCallTimeout    = 25 * time.Second
	defaultTimeout        = 50 * time.Second
	defaultSyncTimeout    = 5 * time.Second
	defaultConnectTimeout = 5 * time.Second
	// defaultJoinWithin is a tenth of the shortest time between two moments at which volumes are due (the resolver puts
	// them on a grid of a second or more), and much more than a busy node needs to begin with the next of them.
	defaultJoinWithin = 100 * time.Millisecond
)

// Config is what a Client needs.
type Config struct {
	// Kubernetes watches the ConfigMap. Its identity needs list and watch of that one object.
	Kubernetes kubernetes.Interface
	// Namespace is Sallyport's own.
	Namespace string
	// NodeName decides which replica this node prefers.
	NodeName string
	// TokenFile holds the plugin's own token for audience v1alpha1.AudienceNode. It is read for every call: the
	// kubelet replaces it before it expires.
	TokenFile string

	// Port of the replicas; 0 means resolverv1.Port.
	Port int
	// Timeout bounds a call, and CallTimeout what one replica may take of it. 0 means 50 and 25 seconds.
	Timeout, CallTimeout time.Duration
	// LocalAddr is where connections come from; nil: the kernel chooses.
	LocalAddr net.Addr
	// ConnectTimeout bounds a connection's TCP and TLS handshakes; 0 means 5 seconds.
	ConnectTimeout time.Duration
	// SyncTimeout is how long a call waits for the first look at the ConfigMap; 0 means 5 seconds.
	SyncTimeout time.Duration
	// JoinWithin is how long after the last request of a round another may join it; 0 means 100 milliseconds. Nothing
	// waits for that: each is sent at once.
	JoinWithin time.Duration
	// Clock is the real one by default.
	Clock clock.PassiveClock
}

// withDefaults returns the configuration with what was left out.
func (config Config) withDefaults() Config {
	if config.Port == 0 {
		config.Port = resolverv1.Port
	}
	for _, timeout := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&config.Timeout, defaultTimeout},
		{&config.CallTimeout, defaultCallTimeout},
		{&config.ConnectTimeout, defaultConnectTimeout},
		{&config.SyncTimeout, defaultSyncTimeout},
		{&config.JoinWithin, defaultJoinWithin},
	} {
		if *timeout.field <= 0 {
			*timeout.field = timeout.value
		}
	}
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	return config
}
