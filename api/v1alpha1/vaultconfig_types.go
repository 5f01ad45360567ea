package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VaultConfig says how to reach one Vault and which identity to use there. Its controller logs in, renews the token
// before it expires and reports Vault's health.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=sallyport,shortName=vc
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Enabled",type=boolean,JSONPath=`.spec.enabled`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Auth",type=string,JSONPath=`.status.authMethod`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.token.expireTime`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VaultConfig struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec says how to reach Vault and who to be there.
	// +required
	Spec VaultConfigSpec `json:"spec,omitempty,omitzero"`

	// status is what the controller found.
	// +default={"observedGeneration":-1}
	// +optional
	Status VaultConfigStatus `json:"status,omitempty,omitzero"`
}

// VaultConfigList is a list of VaultConfigs.
//
// +kubebuilder:object:root=true
type VaultConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VaultConfig `json:"items"`
}

// VaultConfigSpec says how to reach Vault and who to be there.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.caCertificate) && has(self.caCertificateFrom))",message="set caCertificate or caCertificateFrom, not both"
type VaultConfigSpec struct {
	// enabled is whether this VaultConfig may be used; true if not set. With false every new use is refused with reason
	// ConfigDisabled; files that are already mounted stay as they are, and the token is still renewed.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`

	// autoRenew is whether the token is renewed before it expires; true if not set. Renewal succeeds only within the
	// max TTL that Vault gave the token.
	// +optional
	AutoRenew *bool `json:"autoRenew,omitempty"`

	// url is Vault's address, such as https://vault.example.com:8200, or https://gateway.example.com/vault for one that a
	// gateway has below a path: without /v1 and without a query. Plain http is refused unless the controller was started
	// with this address in --allowed-vault-urls.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^[Hh][Tt][Tt][Pp][Ss]?://[^/?#]')",message="write url with its scheme and host, such as https://vault.example.com:8200"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@')",message="url holds an @, as after a user name or password: leave them out, auth says who logs in"
	// +kubebuilder:validation:XValidation:rule="!self.contains('?') && !self.contains('#')",message="url has a query or a fragment: leave out everything from the question mark or # on"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^/]*//[^/]*/(.*/)?(v1|ui)(/|$)')",message="url leads into Vault's API or its pages: leave out everything from /v1 or /ui on; enginePath and secretPath say what is read"
	// +kubebuilder:validation:XValidation:rule="self.matches('[@?#]') || !self.matches('^[Hh][Tt][Tt][Pp][Ss]?://[^/?#]') || (isURL(self) && url(self).getHostname() != '')",message="url cannot be parsed: write one such as https://vault.example.com:8200"
	URL string `json:"url,omitempty"`

	// vaultNamespace is the namespace of Vault Enterprise that every request goes to, for example team-a or
	// team-a/test. A Vault that says that it has no namespaces, the Community edition, is not used with it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^\\\\s/]+(/[^\\\\s/]+)*/?$')",message="write the Vault namespace as in team-a/test: no slash before it, no empty parts, no spaces"
	VaultNamespace string `json:"vaultNamespace,omitempty"`

	// enginePath is the mount path of the secrets engine used by references that name none, for example secret.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	EnginePath string `json:"enginePath,omitempty"`

	// caCertificate is the PEM bundle of the certificate authorities that may have signed Vault's certificate. Without
	// it and without caCertificateFrom, Mozilla's root certificates are used.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	CACertificate string `json:"caCertificate,omitempty"`

	// caCertificateFrom reads the PEM bundle from a ConfigMap or Secret of this namespace.
	// +optional
	CACertificateFrom *CACertificateSource `json:"caCertificateFrom,omitempty"`

	// tls says more about the TLS connection with Vault.
	// +optional
	TLS *VaultTLS `json:"tls,omitempty"`

	// proxy is an HTTP proxy to reach Vault through. The environment's proxy variables have no effect.
	// +optional
	Proxy *VaultProxy `json:"proxy,omitempty"`

	// headers are sent with every request to this Vault, health checks and logins included, and are for what stands
	// before it: a gateway may let nobody in who lacks one. A proxy does not see them.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, b.name.lowerAscii() == a.name.lowerAscii()))",message="the names of headers must be unique, whether in capital letters or small ones: leave one of them"
	Headers []VaultHeader `json:"headers,omitempty"`

	// limits bound what this VaultConfig asks of Vault.
	// +optional
	Limits *VaultLimits `json:"limits,omitempty"`

	// outage says what pods may start with while Vault cannot be reached. Without it they wait for Vault.
	// +optional
	Outage *VaultOutage `json:"outage,omitempty"`

	// auth is how to authenticate to Vault. Exactly one method must be set.
	// +required
	Auth VaultAuth `json:"auth,omitempty,omitzero"`

	// allowedNamespaces are the other namespaces whose Connections and VaultTasks may use this VaultConfig, and for
	// what. A use is allowed if one entry allows it whole: namespace, path and, for a VaultTask, operation. Nobody, if
	// not set; its own namespace may always use it, for everything.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	AllowedNamespaces []NamespaceGrant `json:"allowedNamespaces,omitempty"`

	// allowWrappedResults lets VaultTasks put a response-wrapping token for their result into their status, where every
	// reader of the VaultTask can take it; false if not set.
	// +optional
	AllowWrappedResults *bool `json:"allowWrappedResults,omitempty"`

	// allowedSystemPaths are the paths of Vault's own, such as sys/mounts/team or auth/approle/role/shop/secret-id,
	// that the Generic operations of VaultTasks may act on, with everything below them; none if not set.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	AllowedSystemPaths []string `json:"allowedSystemPaths,omitempty"`
}

// CACertificateSource names where a PEM bundle is kept. Exactly one field must be set.
//
// +kubebuilder:validation:XValidation:rule="has(self.configMapKeyRef) != has(self.secretKeyRef)",message="set exactly one of configMapKeyRef and secretKeyRef"
type CACertificateSource struct {
	// configMapKeyRef names a key of a ConfigMap in the VaultConfig's namespace.
	// +optional
	ConfigMapKeyRef *ConfigMapKeyReference `json:"configMapKeyRef,omitempty"`

	// secretKeyRef names a key of a Secret in the VaultConfig's namespace.
	// +optional
	SecretKeyRef *SecretKeyReference `json:"secretKeyRef,omitempty"`
}

// VaultConfigStatus is what the controller found.
type VaultConfigStatus struct {
	// conditions are Ready, and in detail Reachable, Authenticated and Renewing; CredentialLimited, Reconciling and
	// Stalled while true; Suspended in place of Ready while enabled is false.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// authMethod is the auth method in use, for example token.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	AuthMethod string `json:"authMethod,omitempty"`

	// vault is what Vault said of itself.
	// +optional
	Vault *VaultStatus `json:"vault,omitempty"`

	// token describes the token in use, never the token itself or its accessor.
	// +optional
	Token *TokenStatus `json:"token,omitempty"`

	// refusedLogin is the last login that Vault refused, where Vault counts refused logins and locks the account after a
	// few: no replica offers the same credential too soon, not even after a restart.
	// +optional
	RefusedLogin *RefusedLogin `json:"refusedLogin,omitempty"`
}

// RefusedLogin is a login that Vault refused.
type RefusedLogin struct {
	// time of the last refusal.
	// +required
	Time *metav1.Time `json:"time,omitempty"`

	// secretVersion is the resource version of the Secret with the credential that was refused.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	SecretVersion string `json:"secretVersion,omitempty"`
}

// VaultStatus is what Vault said of itself, from sys/health.
type VaultStatus struct {
	// version of the Vault server.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Version string `json:"version,omitempty"`

	// sealed is whether Vault is sealed.
	// +optional
	Sealed bool `json:"sealed"`

	// clusterName is the name of the Vault cluster.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	ClusterName string `json:"clusterName,omitempty"`
}

// TokenStatus describes a Vault token, as Vault described it at login and at the last renewal. Times are left out of a
// token that lives shorter than ten minutes and is kept alive: they would be past when somebody reads them.
type TokenStatus struct {
	// expireTime is when the token dies if it is not renewed or replaced; absent for a token that never expires.
	// +optional
	ExpireTime *metav1.Time `json:"expireTime,omitempty"`

	// renewable is whether Vault lets the token be renewed.
	// +optional
	Renewable bool `json:"renewable"`

	// policies attached to the token.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=256
	Policies []string `json:"policies,omitempty"`

	// lastRenewalTime is when the token was last renewed. Of a token that lives shorter than 10 minutes, not every
	// renewal is told: the time is brought up to date every 10 minutes at most.
	// +optional
	LastRenewalTime *metav1.Time `json:"lastRenewalTime,omitempty"`

	// nextRenewalTime is when the token will be renewed, or replaced by a new login.
	// +optional
	NextRenewalTime *metav1.Time `json:"nextRenewalTime,omitempty"`

	// maxTTLReached is true when the token's max TTL allows no further renewal: the token dies at expireTime.
	// +optional
	MaxTTLReached bool `json:"maxTTLReached,omitempty"`
}
