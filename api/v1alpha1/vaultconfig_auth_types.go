package v1alpha1

// DefaultVaultAudience is the audience of service account tokens made for Vault where a VaultConfig names none.
const DefaultVaultAudience = "vault"

// VaultAuth is how to authenticate to Vault.
//
// +kubebuilder:validation:ExactlyOneOf=token;kubernetes;jwt;appRole;userPass;ldap;cert
type VaultAuth struct {
	// token uses an existing Vault token, kept in a Secret by its owner.
	// +optional
	Token *TokenAuth `json:"token,omitempty"`

	// kubernetes logs in with a service account token, which Vault has the Kubernetes API server review.
	// +optional
	Kubernetes *ServiceAccountAuth `json:"kubernetes,omitempty"`

	// jwt logs in with a service account token, whose signature Vault checks with the cluster's public keys.
	// +optional
	JWT *ServiceAccountAuth `json:"jwt,omitempty"`

	// appRole logs in with the role ID and a secret ID of an AppRole.
	// +optional
	AppRole *AppRoleAuth `json:"appRole,omitempty"`

	// userPass logs in with a user name and a password that Vault keeps.
	// +optional
	UserPass *PasswordAuth `json:"userPass,omitempty"`

	// ldap logs in with a user name and a password that Vault checks with an LDAP server.
	// +optional
	LDAP *PasswordAuth `json:"ldap,omitempty"`

	// cert logs in with a TLS client certificate.
	// +optional
	Cert *CertAuth `json:"cert,omitempty"`
}

// MountPath is where an auth method is mounted in Vault.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.endsWith('/') && !self.startsWith('auth/')",message="write the mount path alone, without auth/ before it and without slashes around it"
type MountPath string

// TokenAuth uses an existing Vault token.
type TokenAuth struct {
	// secretKeyRef names the Secret key that holds the token, in the VaultConfig's namespace. The Secret is read when
	// the token is first needed, after a failure, and once a minute to see a change. White space around the token is
	// ignored.
	// +required
	SecretKeyRef SecretKeyReference `json:"secretKeyRef,omitempty,omitzero"`
}

// ServiceAccountAuth logs in with a Kubernetes service account token: one that is made for a service account of the
// VaultConfig's namespace, or the mounting pod's own.
//
// +kubebuilder:validation:XValidation:rule="has(self.serviceAccountName) != (has(self.workload) && self.workload)",message="set exactly one of serviceAccountName and workload: true"
// +kubebuilder:validation:XValidation:rule="!has(self.workloadScope) || (has(self.workload) && self.workload)",message="workloadScope is about workload: true; add that, or remove workloadScope"
type ServiceAccountAuth struct {
	// mount is where the auth method is mounted in Vault; kubernetes or jwt if not set.
	// +optional
	Mount MountPath `json:"mount,omitempty"`

	// vaultNamespace is the namespace of Vault Enterprise to log in to, if it is another than the VaultConfig's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	VaultNamespace string `json:"vaultNamespace,omitempty"`

	// role of the auth method to log in to.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Role string `json:"role,omitempty"`

	// serviceAccountName names a service account of the VaultConfig's namespace. A short-lived token is made for it at
	// every login (TokenRequest); nothing is stored.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// workload is whether to log in as the pod that mounts a Connection, with its own service account's token. The
	// CSIDriver csi.sallyport.dev must request a token for the audience. A VaultTask that uses such a VaultConfig logs in
	// as the service account of its namespace that its serviceAccountName names.
	// +optional
	Workload *bool `json:"workload,omitempty"`

	// workloadScope is whose pods and VaultTasks workload: true is for. Namespace, which is the default: those of the
	// VaultConfig's own namespace. AllowedNamespaces: those of spec.allowedNamespaces as well, each as its own service
	// account. Whoever writes that must have the right to create tokens of all service accounts of the cluster, for their
	// tokens go to the address that the VaultConfig says.
	// +optional
	WorkloadScope WorkloadScope `json:"workloadScope,omitempty"`

	// audience that the token is made for, and that Vault's role must demand; vault if not set. It is never one that
	// the API server or Sallyport itself accepts: a token sent to Vault must open nothing else.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self != 'sallyport.dev' && !self.startsWith('sallyport.dev/') && !self.contains('kubernetes.default.svc')",message="name an audience of Vault's own, such as vault: a token for this one would open Kubernetes or Sallyport to whoever receives it"
	Audience string `json:"audience,omitempty"`
}

// WorkloadScope is whose pods and VaultTasks a VaultConfig logs in.
//
// +kubebuilder:validation:Enum=Namespace;AllowedNamespaces
type WorkloadScope string

// Values of WorkloadScope.
const (
	WorkloadScopeNamespace         WorkloadScope = "Namespace"
	WorkloadScopeAllowedNamespaces WorkloadScope = "AllowedNamespaces"
)

// AppRoleAuth logs in as an AppRole.
type AppRoleAuth struct {
	// mount is where the auth method is mounted in Vault; approle if not set.
	// +optional
	Mount MountPath `json:"mount,omitempty"`

	// vaultNamespace is the namespace of Vault Enterprise to log in to, if it is another than the VaultConfig's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	VaultNamespace string `json:"vaultNamespace,omitempty"`

	// roleID of the AppRole, as auth/approle/role/NAME/role-id tells it. It is no secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	RoleID string `json:"roleID,omitempty"`

	// secretIDSecretKeyRef names the Secret key that holds the secret ID, in the VaultConfig's namespace. White space
	// around it is ignored.
	// +required
	SecretIDSecretKeyRef SecretKeyReference `json:"secretIDSecretKeyRef,omitempty,omitzero"`

	// secretIDWrapped is whether the Secret holds response-wrapping tokens in place of a secret ID, one on each line.
	// Every replica of the controller unwraps one of them and keeps the secret ID in memory only, so one is needed for
	// each replica, and new ones after a restart.
	// +optional
	SecretIDWrapped *bool `json:"secretIDWrapped,omitempty"`
}

// PasswordAuth logs in with a user name and a password.
type PasswordAuth struct {
	// mount is where the auth method is mounted in Vault; userpass or ldap if not set.
	// +optional
	Mount MountPath `json:"mount,omitempty"`

	// vaultNamespace is the namespace of Vault Enterprise to log in to, if it is another than the VaultConfig's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	VaultNamespace string `json:"vaultNamespace,omitempty"`

	// username to log in with.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.contains('/')",message="a user name holds no slash"
	Username string `json:"username,omitempty"`

	// passwordSecretKeyRef names the Secret key that holds the password, in the VaultConfig's namespace. One line break
	// at its end is not part of it; everything else is.
	// +required
	PasswordSecretKeyRef SecretKeyReference `json:"passwordSecretKeyRef,omitempty,omitzero"`
}

// CertAuth logs in with a TLS client certificate.
type CertAuth struct {
	// mount is where the auth method is mounted in Vault; cert if not set.
	// +optional
	Mount MountPath `json:"mount,omitempty"`

	// vaultNamespace is the namespace of Vault Enterprise to log in to, if it is another than the VaultConfig's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	VaultNamespace string `json:"vaultNamespace,omitempty"`

	// role of the auth method to log in to; without it, Vault takes the first that the certificate fits.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Role string `json:"role,omitempty"`

	// clientCertificateSecretRef names a Secret of type kubernetes.io/tls in the VaultConfig's namespace: keys tls.crt
	// and tls.key.
	// +required
	ClientCertificateSecretRef TLSSecretReference `json:"clientCertificateSecretRef,omitempty,omitzero"`
}
