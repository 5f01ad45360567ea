package v1alpha1

// TaskTarget is the Vault that a task acts on, and who it is there. Exactly one of vaultConfigRef, vault and
// connectionRef is set.
type TaskTarget struct {
	// vaultConfigRef names the VaultConfig to use.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	VaultConfigRef *VaultConfigReference `json:"vaultConfigRef,omitempty"`

	// serviceAccountName names the service account of this namespace that the task logs in as, where the VaultConfig of
	// vaultConfigRef, or one that data refers to, has workload: true. A short-lived token is made for it at every login
	// (TokenRequest), and Vault's own token is revoked when the run has ended. Whoever writes the task, or runs it again,
	// must be allowed to create tokens of the service account. A VaultConfig that logs in by itself is used without it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="write the name of a service account of this namespace, without the namespace"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// vault is a Vault that no VaultConfig stands for: how to reach it, and who to be there.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	Vault *InlineVault `json:"vault,omitempty"`

	// connectionRef names a Connection of type VAULT in this namespace. Its value supplies url and one kind of
	// credentials (token, username and password, or roleID and secretID), and optionally caCertificate, vaultNamespace,
	// authMethod (userpass or ldap), authMount, secretIDWrapped (secretID is a response-wrapping token), and enginePath,
	// secretPath and path where the task leaves them out.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	ConnectionRef *ConnectionReference `json:"connectionRef,omitempty"`
}

// InlineVault is how to reach a Vault and who to be there, as in a VaultConfig.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.caCertificate) && has(self.caCertificateFrom))",message="set caCertificate or caCertificateFrom, not both"
type InlineVault struct {
	// url is Vault's address, such as https://vault.example.com:8200, or https://gateway.example.com/vault for one that a
	// gateway has below a path: without /v1 and without a query.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^[Hh][Tt][Tt][Pp][Ss]?://[^/?#]')",message="write url with its scheme and host, such as https://vault.example.com:8200"
	// +kubebuilder:validation:XValidation:rule="!self.contains('@')",message="url holds an @, as after a user name or password: leave them out, auth says who logs in"
	// +kubebuilder:validation:XValidation:rule="!self.contains('?') && !self.contains('#')",message="url has a query or a fragment: leave out everything from the question mark or # on"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^/]*//[^/]*/(.*/)?(v1|ui)(/|$)')",message="url leads into Vault's API or its pages: leave out everything from /v1 or /ui on; enginePath and secretPath say what is read"
	// +kubebuilder:validation:XValidation:rule="self.matches('[@?#]') || !self.matches('^[Hh][Tt][Tt][Pp][Ss]?://[^/?#]') || (isURL(self) && url(self).getHostname() != '')",message="url cannot be parsed: write one such as https://vault.example.com:8200"
	URL string `json:"url,omitempty"`

	// vaultNamespace is the namespace of Vault Enterprise that every request goes to. A Vault that says that it has
	// no namespaces, the Community edition, is not used with it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^\\\\s/]+(/[^\\\\s/]+)*/?$')",message="write the Vault namespace as in team-a/test: no slash before it, no empty parts, no spaces"
	VaultNamespace string `json:"vaultNamespace,omitempty"`

	// caCertificate is the PEM bundle of the certificate authorities that may have signed Vault's certificate. Without
	// it and without caCertificateFrom, Mozilla's root certificates are used.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	CACertificate string `json:"caCertificate,omitempty"`

	// caCertificateFrom reads the PEM bundle from a ConfigMap or Secret of this namespace.
	// +optional
	CACertificateFrom *CACertificateSource `json:"caCertificateFrom,omitempty"`

	// headers are sent with every request to this Vault, health checks and logins included, and are for what stands
	// before it: a gateway may let nobody in who lacks one.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, b.name.lowerAscii() == a.name.lowerAscii()))",message="the names of headers must be unique, whether in capital letters or small ones: leave one of them"
	Headers []VaultHeader `json:"headers,omitempty"`

	// auth is how to authenticate to Vault. Exactly one method must be set.
	// +required
	Auth VaultAuth `json:"auth,omitempty,omitzero"`
}

// ConnectionReference names a Connection in the same namespace.
type ConnectionReference struct {
	// name of the Connection.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}
