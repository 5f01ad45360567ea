package app

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// ControllerOptions configure the controller mode. The integration tests use them too, so that what they test is what
// runs.
type ControllerOptions struct {
	// Config reaches the Kubernetes API; if it is nil, the usual places are looked at (in-cluster, KUBECONFIG).
	Config *rest.Config
	// PodName, PodNamespace and PodIP say who this replica is; nodes reach its resolver at PodIP.
	PodName, PodNamespace, PodIP string
	// NodeServiceAccount is the node plugin's service account: namespace/name, or a name in PodNamespace.
	NodeServiceAccount string
	// AllowedVaultURLs are the origins to which credentials may be sent; empty allows every https origin.
	AllowedVaultURLs []string
	// AllowedProxyURLs are the origins of proxies that may stand on the way to Vault; empty allows every one, or none
	// if AllowedVaultURLs is set.
	AllowedProxyURLs []string
	// AllowedVaultNetworks are networks that connections may lead to which are closed otherwise: loopback, link-local.
	AllowedVaultNetworks []string
	// VaultRequestsPerSecond and VaultBurst bound what this replica asks of all Vaults together, KubeAPIQPS and
	// KubeAPIBurst what it asks of the Kubernetes API; 0 sets no bound.
	VaultRequestsPerSecond, VaultBurst, KubeAPIQPS, KubeAPIBurst int
	// APIServer is the address of the Kubernetes API, which no VaultConfig may lead to.
	APIServer string
	// LeaderElect is whether the replicas elect a leader for the controllers.
	LeaderElect bool
	// MetricsAddress and ProbeAddress are where metrics and health probes are served; "0" serves none.
	MetricsAddress, ProbeAddress string
	// SecureMetrics has metrics served over TLS, to whom the API server allows to get /metrics.
	SecureMetrics bool
	// MetricsCertDir holds tls.crt and tls.key for that; without them the certificate is self-signed.
	MetricsCertDir string
	// ResolverAddress is where the resolver listens.
	ResolverAddress string
	// SkipNameValidation lets one process run several replicas, as tests do.
	SkipNameValidation bool
}

type controllerMode struct {
	options                       ControllerOptions
	allowedVaults, allowedProxies string
	allowedNetworks               string
}

func (m *controllerMode) flags(set *flag.FlagSet) {
	o := &m.options
	set.StringVar(&o.PodName, "pod-name", fromEnvironment("POD_NAME"), "name of this replica's pod")
	set.StringVar(&o.PodNamespace, "pod-namespace", fromEnvironment("POD_NAMESPACE"), "namespace of this replica's pod")
	set.StringVar(&o.PodIP, "pod-ip", fromEnvironment("POD_IP"), "address at which nodes reach this replica's resolver")
	set.StringVar(&o.NodeServiceAccount, "node-service-account", "sallyport-node", "service account of the node plugin: namespace/name, or a name in the same namespace")
	set.StringVar(&m.allowedVaults, "allowed-vault-urls", "", "comma-separated addresses (https://vault.example.com:8200, https://gateway.example.com/vault) to which credentials may be sent; "+
		"empty allows every https address. Plain http is allowed only for addresses listed here")
	set.StringVar(&m.allowedProxies, "allowed-proxy-urls", "", "comma-separated origins (http://proxy.example.com:3128) of the proxies that VaultConfigs may name; "+
		"empty allows every proxy, or none if --allowed-vault-urls is set")
	set.StringVar(&m.allowedNetworks, "allowed-vault-networks", "", "comma-separated networks (127.0.0.0/8) or addresses where a Vault or proxy may be although "+
		"they are loopback, link-local, a cloud's metadata service or the Kubernetes API; all others are open")
	set.IntVar(&o.VaultRequestsPerSecond, "vault-requests-per-second", 1000, "requests that this replica sends to Vaults in a second, all VaultConfigs together; "+
		"0 sets no bound. Renewals of tokens do not wait")
	set.IntVar(&o.VaultBurst, "vault-burst", 1000, "how many of them it sends at once after it has sent fewer")
	set.IntVar(&o.KubeAPIQPS, "kube-api-qps", 500, "requests that this replica sends to the Kubernetes API in a second, besides renewals of the leader's Lease; 0 sets no bound")
	set.IntVar(&o.KubeAPIBurst, "kube-api-burst", 1000, "how many of them it sends at once after it has sent fewer")
	set.BoolVar(&o.LeaderElect, "leader-elect", true, "elect a leader among the replicas for the controllers; every replica resolves")
	set.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8080", "address of the metrics endpoint; 0 serves none")
	set.BoolVar(&o.SecureMetrics, "metrics-secure", false, "serve metrics over TLS, and only to callers whose token the Kubernetes API accepts and allows to get /metrics")
	set.StringVar(&o.MetricsCertDir, "metrics-cert-dir", "", "directory with tls.crt and tls.key for --metrics-secure; without them the certificate is self-signed")
	set.StringVar(&o.ProbeAddress, "health-probe-bind-address", ":8081", "address of the endpoints /healthz and /readyz")
	set.StringVar(&o.ResolverAddress, "resolver-bind-address", fmt.Sprintf(":%d", resolverv1.Port),
		"address of the resolver's gRPC service")
}

func (m *controllerMode) reservedMemory() int64 { return 0 }

func (m *controllerMode) validate() error {
	m.options.AllowedVaultURLs, m.options.AllowedProxyURLs = split(m.allowedVaults), split(m.allowedProxies)
	m.options.AllowedVaultNetworks = split(m.allowedNetworks)
	m.options.APIServer = fromEnvironment("KUBERNETES_SERVICE_HOST")
	switch {
	case m.options.PodName == "" || m.options.PodNamespace == "":
		return errors.New("--pod-name and --pod-namespace (or POD_NAME and POD_NAMESPACE) must be set")
	case net.ParseIP(m.options.PodIP) == nil:
		return fmt.Errorf("--pod-ip (or POD_IP) must be an IP address, and is %q", m.options.PodIP)
	}
	o := &m.options
	for _, flag := range []struct {
		name       string
		value, min int
	}{
		{"vault-requests-per-second", o.VaultRequestsPerSecond, 0}, {"vault-burst", o.VaultBurst, 1},
		{"kube-api-qps", o.KubeAPIQPS, 0}, {"kube-api-burst", o.KubeAPIBurst, 1},
	} {
		if flag.value < flag.min {
			return fmt.Errorf("--%s must be at least %d, and is %d", flag.name, flag.min, flag.value)
		}
	}
	return nil
}

// nodeServiceAccount is whom the resolver answers.
func (o *ControllerOptions) nodeServiceAccount() types.NamespacedName {
	if namespace, name, found := strings.Cut(o.NodeServiceAccount, "/"); found {
		return types.NamespacedName{Namespace: namespace, Name: name}
	}
	return types.NamespacedName{Namespace: o.PodNamespace, Name: o.NodeServiceAccount}
}

// split returns the parts of a comma-separated list.
func split(list string) []string {
	var parts []string
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
