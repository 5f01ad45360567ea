package v1alpha1

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Connection holds the pre-configured inputs for a remote system, such as host, user and password. Any string in its
// value may hold vault.secret(...), which is fetched from Vault every time a pod mounts the Connection and is never
// stored.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=sallyport,shortName=conn
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Mounts",type=integer,JSONPath=`.status.mounts.volumes`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Connection struct {
	metav1.TypeMeta `json:",inline"`
	// metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty,omitzero"`

	// spec is the connection's value and where its secrets come from.
	// +required
	Spec ConnectionSpec `json:"spec,omitempty,omitzero"`

	// status is what the controller found when it last checked the Connection.
	// +default={"observedGeneration":-1}
	// +optional
	Status ConnectionStatus `json:"status,omitempty,omitzero"`
}

// ConnectionList is a list of Connections.
//
// +kubebuilder:object:root=true
type ConnectionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Connection `json:"items"`
}

// ConnectionSpec is the connection's value and where its secrets come from.
type ConnectionSpec struct {
	// type tells the consumer what kind of system this is, for example SQLORACLE or postgresql. Free text; it is
	// mounted as the file "type", as the Service Binding specification has it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Type string `json:"type,omitempty"`

	// provider tells the consumer who runs the system, for example bitnami or aws. Free text; it is mounted as the file
	// "provider", as the Service Binding specification has it. Without it there is no such file.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Provider string `json:"provider,omitempty"`

	// value is any JSON object. Every string in it, at any depth, may hold references:
	// vault.secret(key) is the key of the one attached secret that has it; vault.secret(name.key) is the key of the
	// attached secret of that name; vault.secret(config:path.key) names VaultConfig and path itself.
	// vault.secret(name.*) is the whole secret, an object; vault.secret(name.key.field.0) leads into objects and lists,
	// also where the secret holds them as text; vault.secret(name.key, "default") has JSON for what is absent.
	// vault.text("...") is literal text. A secret of vaultSecrets that is spread brings its keys besides. A string that
	// is one reference and nothing else keeps the secret's JSON type.
	// +optional
	// +mapType=atomic
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:MaxProperties=16384
	Value map[string]apiextensionsv1.JSON `json:"value,omitempty"`

	// vaultSecrets are the secrets that references in value may use. A dynamic secret, such as credentials of a
	// database engine, is made for each volume; its lease is renewed while the pod lives, and revoked when the pod is
	// gone.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(s, !has(s.name) || self.exists_one(t, has(t.name) && t.name == s.name))",message="the names of vaultSecrets must be unique"
	VaultSecrets []VaultSecret `json:"vaultSecrets,omitempty"`

	// files are the files of the mounted Connection, in place of one file for each top-level key of value. The files
	// "type" and, if provider is set, "provider" are there besides.
	// +optional
	// +listType=map
	// +listMapKey=path
	// +kubebuilder:validation:MaxItems=128
	Files []ConnectionFile `json:"files,omitempty"`

	// refreshInterval is how often a mounted Connection is compared with Vault: a change reaches its pods within this
	// time, plus two seconds. Written as numbers with the units h, m, s or ms: 90s, 5m, 1h30m (no days). 60s if not
	// set; at least 5s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^(0|([0-9]+([.][0-9]+)?(h|m|s|ms|us|ns))+)$')",message="write refreshInterval as numbers with the units h, m, s or ms, such as 90s, 5m or 1h30m; there is no unit for days: 24h"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(0|([0-9]+([.][0-9]+)?(h|m|s|ms|us|ns))+)$') || duration(self) >= duration('5s')",message="refreshInterval must be at least 5s"
	RefreshInterval *metav1.Duration `json:"refreshInterval,omitempty"`

	// allowedServiceAccounts are the service accounts of this namespace whose pods may mount the Connection. If it is
	// empty, every pod of the namespace may, as with a Secret.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	AllowedServiceAccounts []string `json:"allowedServiceAccounts,omitempty"`
}

// FileFormat is how the whole value of a Connection is written to one file.
//
// +kubebuilder:validation:Enum=JSON;YAML;Env;DockerEnv;Properties
type FileFormat string

// Formats of files.
const (
	// FileFormatJSON is a JSON object.
	FileFormatJSON FileFormat = "JSON"
	// FileFormatYAML is a YAML mapping.
	FileFormatYAML FileFormat = "YAML"
	// FileFormatEnv is a file that a shell reads with the command ".".
	FileFormatEnv FileFormat = "Env"
	// FileFormatDockerEnv is a file for docker run --env-file, which knows no quotes.
	FileFormatDockerEnv FileFormat = "DockerEnv"
	// FileFormatProperties is a file that java.util.Properties loads.
	FileFormatProperties FileFormat = "Properties"
)

// FileEncoding is how the text of a file stands for its bytes.
//
// +kubebuilder:validation:Enum=Base64
type FileEncoding string

// FileEncodingBase64 is the standard base64 of RFC 4648; line breaks in it do not matter.
const FileEncodingBase64 FileEncoding = "Base64"

// KeystoreFormat is how a key store is written.
//
// +kubebuilder:validation:Enum=PKCS12;JKS
type KeystoreFormat string

// Formats of key stores.
const (
	// KeystoreFormatPKCS12 is that of RFC 7292, with AES-256 and HMAC-SHA-256.
	KeystoreFormatPKCS12 KeystoreFormat = "PKCS12"
	// KeystoreFormatJKS is Java's former own.
	KeystoreFormatJKS KeystoreFormat = "JKS"
)

// Keystore is what a key store is made from: a private key and its certificates, or without a key the certificates that
// are trusted. Each text may hold references, as the strings of spec.value may.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.alias) && self.format == 'PKCS12' && has(self.privateKey))",message="alias is for JKS and for certificates that are trusted: a key in PKCS12 has none, and Java calls it 1"
type Keystore struct {
	// format is PKCS12 or JKS.
	// +required
	Format KeystoreFormat `json:"format,omitempty"`

	// privateKey is a private key in PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted. Without it, the certificates are
	// entries that are trusted.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	PrivateKey string `json:"privateKey,omitempty"`

	// certificates in PEM, any number in each text: first that of the private key, then each that issued the one before.
	// A text that is one reference and nothing else may lead to a list of such texts, such as ca_chain of the pki engine.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=65536
	Certificates []string `json:"certificates,omitempty"`

	// password of the store, and of the key in it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Password string `json:"password,omitempty"`

	// alias of the key, by default key; of certificates that are trusted the beginning, by default ca: ca-1, ca-2.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9][-_.a-z0-9]*$')",message="alias may hold small letters and digits of ASCII, '-', '_' and '.', and begins with a letter or a digit"
	Alias string `json:"alias,omitempty"`
}

// ConnectionFile is one file of a mounted Connection: the whole value in a format, one text, a template, or a key
// store.
//
// +kubebuilder:validation:XValidation:rule="(has(self.format) && !(has(self.template) && self.format == 'JSON') ? 1 : 0) + (has(self.value) ? 1 : 0) + (has(self.template) ? 1 : 0) + (has(self.keystore) ? 1 : 0) == 1",message="set exactly one of format, value, template and keystore; only the format JSON may stand beside template"
// +kubebuilder:validation:XValidation:rule="!((has(self.format) || has(self.keystore)) && has(self.encoding))",message="encoding is for value and template; a format writes text, and a key store is bytes"
type ConnectionFile struct {
	// path is the file's name, or a path with directories: conf.d/app.conf. Each part follows the rules of a ConfigMap's
	// keys: letters and digits of ASCII, "-", "_" and "."; not "." and not beginning with "..". At most 8 parts.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+(/[-._a-zA-Z0-9]+){0,7}$')",message="path may hold letters and digits of ASCII, '-', '_' and '.', and '/' between at most 8 parts; it begins and ends with none"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(^|/)[.]($|/|[.])')",message="no part of path may be '.' or begin with '..': it leads nowhere else, and the volume keeps such names for itself"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(type|provider)($|/)')",message="the files type and provider are written from spec.type and spec.provider; choose another path"
	Path string `json:"path,omitempty"`

	// format writes the whole value: JSON; YAML; Env, for the shell's command "."; DockerEnv, for docker run
	// --env-file; Properties, for java.util.Properties. In Env, DockerEnv and Properties each top-level key is one
	// entry; what is not a string stands there as JSON. Beside template, JSON writes nothing: it has the template's
	// output refused if that is no JSON.
	// +optional
	Format FileFormat `json:"format,omitempty"`

	// value is the file's text. It may hold references, as the strings of spec.value may.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Value string `json:"value,omitempty"`

	// template is a Go template that is given spec.value with its references resolved: {{ .user }}. A key that is not
	// there is an error. The functions are listed in the reference. References in the template itself are not looked
	// at.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Template string `json:"template,omitempty"`

	// keystore makes a key store, or a trust store, from keys and certificates in PEM. Equal content makes equal bytes.
	// +optional
	Keystore *Keystore `json:"keystore,omitempty"`

	// encoding is how the text of value or template stands for the file's bytes. Base64 makes binary files, such as key
	// stores, from secrets that hold base64.
	// +optional
	Encoding FileEncoding `json:"encoding,omitempty"`

	// mode is the file's permission bits, 0400 to 0777; as a decimal number, which JSON needs, 256 to 511. The decimal
	// numbers 400, 404, 440 and 444 are refused: they mean 0620, 0624, 0670 and 0674, and 0400, 0404, 0440 or 0444 was
	// meant. By default 0644, or 0440 if the pod has an fsGroup, which then owns the file in any case. A file that
	// excludes others belongs to the user that the pod's spec has run the containers that mount it (runAsUser), if that
	// is one.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 256 && self <= 511 && !(self in [400, 404, 440, 444])",messageExpression="self == 400 ? 'mode 400 is decimal, and not the octal 0400: write 0400 in YAML or 256 in JSON' : self == 404 ? 'mode 404 is decimal, and not the octal 0404: write 0404 in YAML or 260 in JSON' : self == 440 ? 'mode 440 is decimal, and not the octal 0440: write 0440 in YAML or 288 in JSON' : self == 444 ? 'mode 444 is decimal, and not the octal 0444: write 0444 in YAML or 292 in JSON' : self == 600 ? 'mode 600 is decimal, and not the octal 0600: write 0600 in YAML or 384 in JSON' : self == 640 ? 'mode 640 is decimal, and not the octal 0640: write 0640 in YAML or 416 in JSON' : self == 644 ? 'mode 644 is decimal, and not the octal 0644: write 0644 in YAML or 420 in JSON' : self == 755 ? 'mode 755 is decimal, and not the octal 0755: write 0755 in YAML or 493 in JSON' : self == 777 ? 'mode 777 is decimal, and not the octal 0777: write 0777 in YAML or 511 in JSON' : 'mode must be between 0400 and 0777 (256 and 511 in JSON, which has no octal numbers)'"
	Mode *int32 `json:"mode,omitempty"`
}

// SecretMethod is how an engine is asked for a secret.
//
// +kubebuilder:validation:Enum=GET;POST
type SecretMethod string

// Methods.
const (
	// SecretMethodGet reads.
	SecretMethodGet SecretMethod = "GET"
	// SecretMethodPost writes parameters, and takes what the engine answers.
	SecretMethodPost SecretMethod = "POST"
)

// VaultSecret is one secret in Vault that a Connection uses.
//
// +kubebuilder:validation:XValidation:rule="!has(self.parameters) || (has(self.method) && self.method == 'POST')",message="parameters are what is written: set method to POST"
// +kubebuilder:validation:XValidation:rule="!has(self.podLabels) || has(self.parameters)",message="podLabels are for parameters"
// +kubebuilder:validation:XValidation:rule="!(has(self.method) && self.method == 'POST' && (has(self.version) || has(self.kvVersion)))",message="version and kvVersion are for KV engines, which method POST does not write to; leave them out"
// +kubebuilder:validation:XValidation:rule="!(has(self.prefix) || has(self.keys)) || (has(self.spread) && self.spread)",message="prefix and keys are for what is spread: set spread to true"
// +kubebuilder:validation:XValidation:rule="!(has(self.version) && has(self.kvVersion) && self.kvVersion == 'V1')",message="version needs the KV version 2 engine; KV version 1 keeps no versions"
type VaultSecret struct {
	// name by which references in value can call this secret: vault.secret(name.key).
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([-_A-Za-z0-9]*[A-Za-z0-9])?$`
	Name string `json:"name,omitempty"`

	// vaultConfigRef names the VaultConfig that reads the secret.
	// +required
	VaultConfigRef VaultConfigReference `json:"vaultConfigRef,omitempty,omitzero"`

	// vaultNamespace is the namespace of Vault Enterprise that the secret is in, by default the VaultConfig's. It must be
	// that one or one below it, whose whole name is written: of a VaultConfig with team-a, for example team-a/child. The
	// token needs a policy for it, and paths that the VaultConfig allows other namespaces begin with the way there:
	// child/secret.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^\\\\s/]+(/[^\\\\s/]+)*/?$') && !self.matches('(^|/)[.][.]?(/|$)')",message="write the Vault namespace as in team-a/test: no slash before it, no empty parts, no spaces, no dots in place of a name"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(^|/)(auth|sys|identity|cubbyhole)(/|$)')",message="auth, sys, identity and cubbyhole are Vault's own, and no namespace has such a name: write the name of a namespace"
	VaultNamespace string `json:"vaultNamespace,omitempty"`

	// enginePath is the mount path of the secrets engine; by default the VaultConfig's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	EnginePath string `json:"enginePath,omitempty"`

	// secretPath is the path of the secret inside the engine: a KV secret, or what another engine answers to a read.
	// For KV version 2 both spellings work: with data/, as Vault's API has it, and without, as its command line has it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	SecretPath string `json:"secretPath,omitempty"`

	// kvVersion overrides the detection of the engine's KV version. Not for engines that are not KV.
	// +optional
	KVVersion KVVersion `json:"kvVersion,omitempty"`

	// version pins a version of a KV version 2 secret; by default the latest is read.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Version *int64 `json:"version,omitempty"`

	// optional is whether the files are also made where the secret, or a key of it, is absent: references to it are null
	// then, or their default. What is denied, sealed or unreachable is not absent.
	// +optional
	Optional *bool `json:"optional,omitempty"`

	// spread is whether the keys of the secret become top-level keys of value, each with what the secret has. A key that
	// stands in value wins. A dynamic secret needs keys, for nothing is known of it before it is made.
	// +optional
	Spread *bool `json:"spread,omitempty"`

	// prefix is put in front of each key that is spread.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Prefix string `json:"prefix,omitempty"`

	// keys are those that are spread; by default all that the secret has.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=512
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Keys []string `json:"keys,omitempty"`

	// method is GET by default. POST is for engines that answer a write, such as pki/issue or transit/datakey; it is
	// made once for each volume that mounts the Connection. KV engines are never written to. Whoever sets it needs the
	// right to create VaultTasks.
	// +optional
	Method SecretMethod `json:"method,omitempty"`

	// parameters are written with method POST, such as common_name and ttl for pki/issue: an object with what Vault's
	// API takes. They hold no references, and no secrets. A text with {{ is a template, which is given the pod that mounts
	// the Connection: {{ .pod.name }}, namespace, serviceAccount, and labels for those that podLabels lists.
	// +optional
	// +kubebuilder:validation:Type=object
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:pruning:PreserveUnknownFields
	Parameters *apiextensionsv1.JSON `json:"parameters,omitempty"`

	// podLabels are the keys of the pod's labels that parameters may name: {{ .pod.labels.app }}, or for a key with other
	// characters {{ index .pod.labels "app.kubernetes.io/name" }}. A pod that lacks one does not start.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=317
	PodLabels []string `json:"podLabels,omitempty"`
}

// ConnectionStatus is what the controller found when it last checked the Connection.
type ConnectionStatus struct {
	// conditions are Ready; Reconciling and Stalled while true.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// secrets are the secrets in Vault that the Connection was last resolved from.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2048
	Secrets []ObservedSecret `json:"secrets,omitempty"`

	// mounts says how many volumes use the Connection and what they hold; absent if none ever did. It is brought up to
	// date within seconds when a volume comes or gets another version, and a few minutes after one has gone.
	// +optional
	Mounts *ConnectionMounts `json:"mounts,omitempty"`
}

// ConnectionMounts says how many volumes use a Connection and what they hold.
type ConnectionMounts struct {
	// volumes that mount the Connection: those that asked a resolver lately.
	// +required
	// +kubebuilder:validation:Minimum=0
	Volumes *int32 `json:"volumes,omitempty"`

	// lastRefreshTime is when a volume was last compared with Vault, as of the last report. It is reported with every
	// other change, and every ten minutes.
	// +optional
	LastRefreshTime *metav1.Time `json:"lastRefreshTime,omitempty"`

	// secrets are those with versions, and which of these some volume holds.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2048
	Secrets []ServedSecret `json:"secrets,omitempty"`

	// replicas of the resolver, with what each has counted.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Replicas []ReplicaMounts `json:"replicas,omitempty"`
}

// ServedSecret says which versions of a secret volumes hold.
type ServedSecret struct {
	// path of the secret as Vault's API has it, engine included.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path,omitempty"`

	// oldestVersion that some volume holds.
	// +required
	// +kubebuilder:validation:Minimum=1
	OldestVersion int64 `json:"oldestVersion,omitempty"`

	// newestVersion that some volume holds.
	// +required
	// +kubebuilder:validation:Minimum=1
	NewestVersion int64 `json:"newestVersion,omitempty"`
}

// ReplicaMounts is what one replica of the resolver has counted.
type ReplicaMounts struct {
	// name of the replica's pod.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// volumes that asked this replica lately.
	// +required
	// +kubebuilder:validation:Minimum=1
	Volumes int32 `json:"volumes,omitempty"`

	// lastRefreshTime is when one of them was last compared with Vault.
	// +optional
	LastRefreshTime *metav1.Time `json:"lastRefreshTime,omitempty"`

	// secrets that they hold.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2048
	Secrets []ServedSecret `json:"secrets,omitempty"`
}

// ObservedSecret says which version of a secret was last seen, never what is in it.
type ObservedSecret struct {
	// vaultConfig that read the secret, as namespace/name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	VaultConfig string `json:"vaultConfig,omitempty"`

	// path of the secret as Vault's API has it, engine included, for example secret/data/oracle.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path,omitempty"`

	// version of the secret; absent for engines that keep no versions.
	// +optional
	Version int64 `json:"version,omitempty"`

	// createdTime is when that version was written to Vault, or when the credential of a static role was last rotated;
	// absent for engines that tell neither.
	// +optional
	CreatedTime *metav1.Time `json:"createdTime,omitempty"`
}
