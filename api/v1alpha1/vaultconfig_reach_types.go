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

// VaultHeader is a header that every request to Vault has besides Vault's own: for what stands before Vault, which may
// want to see one. Exactly one of value and secretKeyRef must be set.
//
// +kubebuilder:validation:XValidation:rule="has(self.value) != has(self.secretKeyRef)",message="set exactly one of value and secretKeyRef of a header"
// +kubebuilder:validation:XValidation:rule="!has(self.value) || self.name.lowerAscii().matches('^(x-vault-|x-forwarded-|x-original-|x-rewrite-|content-|if-|proxy-)') || !self.name.lowerAscii().matches('(^|-)(cookie|token|secret|password|credentials?|key|apikey|jwt)(-|$)')",message="a header of that name holds a credential, and everybody who reads this object would see it: put its text into a Secret, and name that in secretKeyRef in place of value"
type VaultHeader struct {
	// name of the header, such as X-Tenant. Refused are the names by which a request would become another one: those
	// that begin with X-Vault-, which Sallyport itself says to Vault, such as the token of auth.token; Authorization,
	// which Vault takes for a token; those that say where a request comes from (Forwarded, X-Forwarded-…, X-Real-IP),
	// for a Vault may believe them; those by which some servers take another method or path (X-HTTP-Method-Override,
	// X-Original-…, X-Rewrite-…); and those of the connection and of the body.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$')",message="name is that of a header, such as X-Tenant: write letters, digits and single hyphens between them"
	// +kubebuilder:validation:XValidation:rule="self.lowerAscii() != 'x-vault-token'",message="name is X-Vault-Token, which is the login's: leave the header out, and name the Secret with the token in auth.token"
	// +kubebuilder:validation:XValidation:rule="self.lowerAscii() == 'x-vault-token' || !self.lowerAscii().startsWith('x-vault-')",message="name begins with X-Vault-, by which Sallyport itself says to Vault what it wants: leave the header out, and say it with auth, vaultNamespace or result.wrap"
	// +kubebuilder:validation:XValidation:rule="self.lowerAscii() != 'authorization'",message="name is Authorization, which Vault takes for a token: say in auth who logs in, and let what stands before Vault look at another header"
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['forwarded', 'x-real-ip'] || self.lowerAscii().startsWith('x-forwarded-'))",message="name is that of a header that says where a request comes from, which a Vault may believe: leave it out, and let what stands before Vault set it"
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['x-http-method', 'x-http-method-override', 'x-method-override'] || self.lowerAscii().startsWith('x-original-') || self.lowerAscii().startsWith('x-rewrite-'))",message="name is that of a header by which some servers take another method or path than the request's: leave it out"
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['accept', 'accept-encoding', 'connection', 'expect', 'host', 'keep-alive', 'range', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'user-agent'] || self.lowerAscii().startsWith('content-') || self.lowerAscii().startsWith('if-') || self.lowerAscii().startsWith('proxy-'))",message="name is that of a header that belongs to the connection or to the body, which Sallyport sets itself: leave it out, and give what stands before Vault a header of its own"
	Name string `json:"name,omitempty"`

	// value is the header's text, which every reader of this object sees. What is secret belongs into secretKeyRef; a
	// header by whose name it is (one with a part Cookie, Token, Secret, Password, Credential, Key or JWT) must have that.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="self.matches('^[!-~]([ -~]*[!-~])?$')",message="value is the text of a header: write printable characters of ASCII on one line, without spaces around them"
	Value string `json:"value,omitempty"`

	// secretKeyRef names the key of a Secret of this namespace that holds the header's text. White space around it is left
	// out. A change is noticed within a minute.
	// +optional
	SecretKeyRef *SecretKeyReference `json:"secretKeyRef,omitempty"`
}

// VaultOutage says what pods may start with while Vault cannot be reached.
type VaultOutage struct {
	// serveFor is how old a secret may be that a pod starts with while Vault gives no answer or is sealed, counted from
	// when a replica of the controller read it for the same identity and namespace: from 1m to 24h, written as numbers
	// with the units h, m or s. The values are kept in the replicas' memory for that long, and nowhere else. Never for
	// dynamic secrets, and never for a secret or an identity that Vault has refused since.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.matches('^(0|([0-9]+([.][0-9]+)?(h|m|s|ms|us|ns))+)$')",message="write serveFor as numbers with the units h, m or s, such as 90s, 5m or 1h30m; there is no unit for days: 24h"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(0|([0-9]+([.][0-9]+)?(h|m|s|ms|us|ns))+)$') || (duration(self) >= duration('1m') && duration(self) <= duration('24h'))",message="serveFor must be from 1m to 24h"
	ServeFor *metav1.Duration `json:"serveFor,omitempty"`
}
