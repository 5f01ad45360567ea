package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VaultTLS says more about the TLS connection with Vault.
type VaultTLS struct {
	// serverName is the name that Vault's certificate must be valid for, and that is sent as SNI; by default the host
	// of url.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-.A-Za-z0-9]*[A-Za-z0-9])?$')",message="write a host name such as vault.example.com, without scheme and port"
	ServerName string `json:"serverName,omitempty"`

	// clientCertificateSecretRef names a Secret of type kubernetes.io/tls in the VaultConfig's namespace: keys tls.crt
	// and tls.key. The certificate is shown to each server on the way to Vault that requests one. It is
	// read again once a minute, to see a change. It logs nobody in: auth does.
	// +optional
	ClientCertificateSecretRef *TLSSecretReference `json:"clientCertificateSecretRef,omitempty"`
}

// TLSSecretReference names a Secret of type kubernetes.io/tls in the same namespace.
type TLSSecretReference struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// VaultProxy is an HTTP proxy on the way to Vault. It passes the TLS connection on (CONNECT) and sees nothing of what
// is in it.
type VaultProxy struct {
	// url is the proxy's address: http://proxy.example.com:3128. The certificate of an https proxy must be signed by
	// one of the authorities that VaultConfig trusts for Vault itself. Where the controller limits the addresses that
	// credentials may be sent to (--allowed-vault-urls), the proxy must be listed in its --allowed-proxy-urls.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/?#@]+/?$')",message="write the proxy's origin, such as http://proxy.example.com:3128: no path, no query, no user name and password"
	URL string `json:"url,omitempty"`
}

// VaultLimits bound what a VaultConfig asks of Vault, in each replica of the controller.
//
// +kubebuilder:validation:XValidation:rule="!has(self.burst) || has(self.requestsPerSecond)",message="burst says how many requests may come at once where requestsPerSecond bounds them; set requestsPerSecond too"
type VaultLimits struct {
	// requestsPerSecond is how many requests may be sent to Vault, on average. A request that has to wait longer than
	// its own time-out is refused with reason RateLimited. Without a bound if not set. Health checks, which all
	// VaultConfigs of one Vault share, and renewals of the token do not wait.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	RequestsPerSecond *int32 `json:"requestsPerSecond,omitempty"`

	// burst is how many requests may be sent at once; as many as requestsPerSecond if not set.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Burst *int32 `json:"burst,omitempty"`

	// timeout of one request, from the start of the connection to the end of the answer: from 1s to 60s, written as
	// numbers with the units m, s or ms; 10s if not set. A mount waits 15 seconds for one secret, whatever stands here.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^(0|([0-9]+([.][0-9]+)?(h|m|s|ms|us|ns))+)$')",message="write timeout as numbers with the units h, m, s or ms, such as 90s, 5m or 1h30m; there is no unit for days: 24h"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(0|([0-9]+([.][0-9]+)?(h|m|s|ms|us|ns))+)$') || (duration(self) >= duration('1s') && duration(self) <= duration('60s'))",message="timeout must be from 1s to 60s"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}
