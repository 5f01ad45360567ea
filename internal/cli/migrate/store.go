package migrate

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Kinds of stores.
const (
	kindStore        = "SecretStore"
	kindClusterStore = "ClusterSecretStore"
)

// externalSecrets are those of the External Secrets Operator.
type externalSecrets struct {
	*migration
	// stores that were turned into VaultConfigs, by kind and by the namespace of the VaultConfig.
	stores map[target]*store
}

// store is a SecretStore or ClusterSecretStore as a namespace uses it; without a VaultConfig if it cannot be migrated,
// which was reported then.
type store struct {
	config v1alpha1.VaultConfigReference
	// path is the engine's mount path, which the keys of ExternalSecrets leave out.
	path string
	// unversioned: KV version 1, where data/ in a path is part of a name.
	unversioned bool
}

// secretStore turns a store that somebody wrote into a VaultConfig, whether or not it is used.
func (m *externalSecrets) secretStore(ctx context.Context, o *opened) error {
	if o.source.GetKind() == kindClusterStore && referent(o) {
		// Its credentials are each namespace's own: it is one VaultConfig for each that uses it.
		return nil
	}
	_, err := m.storeFor(ctx, o.namespace, o.source.GetKind(), o.name, nil)
	return err
}

// referent tells whether a ClusterSecretStore takes its credentials from the namespace of whoever uses it.
func referent(o *opened) bool { return o.credentialNamespace() == "" }

// credentialNamespace is where the credential of a store is; empty if it does not say.
func (o *opened) credentialNamespace() string {
	namespace := ""
	var look func(any)
	look = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			if of, is := v["namespace"].(string); is && v["name"] != nil && namespace == "" {
				namespace = of
			}
			for name, member := range v {
				if name != "caProvider" {
					look(member)
				}
			}
		case []any:
			for _, member := range v {
				look(member)
			}
		}
	}
	spec, _ := o.source.Object["spec"].(map[string]any)
	look(spec["provider"])
	return namespace
}

// storeFor returns a store as a namespace uses it. Whoever refers to one that is not there is told so.
func (m *externalSecrets) storeFor(ctx context.Context, namespace, kind, name string, by *fields) (*store, error) {
	at := key{namespace, name}
	if kind == kindClusterStore {
		at.namespace = ""
	}
	object, err := m.in.find(ctx, schema.GroupKind{Group: groupESO, Kind: kind}, at)
	if err != nil {
		return nil, err
	}
	if object == nil {
		by.note(NoEqual, "", "%s %s is not among the manifests: give it with -f too, or read both from the cluster", kind, at)
		return &store{}, nil
	}
	o := m.open(object)
	home := namespace
	if kind == kindClusterStore && !referent(o) {
		home = o.credentialNamespace()
	}
	made := target{kind, key{home, name}}
	if s := m.stores[made]; s != nil {
		return s.seenFrom(namespace, home), nil
	}
	s := &store{}
	m.stores[made] = s
	if vault := o.part("provider"); !vault.isSet("vault") {
		o.note(NoEqual, "provider", "it is not vault, and Sallyport reads from Vault only: leave the store to the External Secrets Operator")
	} else {
		m.vaultProvider(o, vault.part("vault"), home, s)
		o.rest()
	}
	return s.seenFrom(namespace, home), nil
}

// seenFrom is the store with a reference to its VaultConfig from a namespace.
func (s *store) seenFrom(namespace, home string) *store {
	seen := *s
	if seen.config.Name != "" && namespace != home {
		seen.config.Namespace = home
	}
	return &seen
}

// vaultProvider makes the VaultConfig of a store.
func (m *externalSecrets) vaultProvider(o *opened, f *fields, home string, s *store) {
	o.needless("controller", "retrySettings", "refreshInterval")
	s.unversioned = f.text("version") == "v1"
	f.needless("readYourWrites", "forwardInconsistent", "checkAndSet")
	spec := v1alpha1.VaultConfigSpec{URL: addressOf(f, "server"), VaultNamespace: strings.Trim(f.text("namespace"), "/")}
	s.path = strings.TrimSuffix(strings.Trim(f.text("path"), "/"), "/data")
	spec.EnginePath = s.path
	spec.Headers = headersOf(f)
	storeAuthority(f, &spec, home)
	if tls := f.part("tls"); tls.isSet("certSecretRef") {
		if name := keyPair(tls, "certSecretRef", "keySecretRef"); name != "" {
			spec.TLS = &v1alpha1.VaultTLS{ClientCertificateSecretRef: &v1alpha1.TLSSecretReference{Name: name}}
		}
	}
	ok := storeLogin(f.part("auth"), &spec)
	if spec.URL == "" || !ok {
		return
	}
	if o.source.GetKind() == kindClusterStore && !referent(o) {
		spec.AllowedNamespaces = m.grants(o, s.path)
	} else {
		o.needless("conditions")
	}
	s.config.Name = m.config(key{home, o.name}, spec)
}

// storeAuthority takes the authority of Vault's certificate.
func storeAuthority(f *fields, spec *v1alpha1.VaultConfigSpec, home string) {
	if bundle := f.text("caBundle"); bundle != "" {
		pem, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(bundle), ""))
		if err != nil || !strings.Contains(string(pem), "BEGIN CERTIFICATE") {
			f.note(NoEqual, "caBundle", "it is no PEM in base64; correct the manifest")
			return
		}
		spec.CACertificate = string(pem)
	}
	if from := f.part("caProvider"); from.isSet("name") {
		name, of, kind := from.text("name"), from.text("key"), from.text("type")
		if namespace := from.text("namespace"); namespace != "" && namespace != home {
			from.note(Elsewhere, "namespace", "a VaultConfig reads its authority from its own namespace: copy %s %s from %s to %s", kind, name, namespace, home)
		}
		if of == "" {
			of = "ca.crt"
		}
		spec.CACertificateFrom = authorityIn(name, of)
		if kind != "Secret" {
			ref := &v1alpha1.ConfigMapKeyReference{Name: name, Key: of}
			spec.CACertificateFrom = &v1alpha1.CACertificateSource{ConfigMapKeyRef: ref}
		}
	}
	f.m.authority(spec)
}

// secretKey takes a reference to a key of a Secret.
func secretKey(f *fields, name, usual string) v1alpha1.SecretKeyReference {
	ref := f.part(name)
	ref.needless("namespace")
	found := v1alpha1.SecretKeyReference{Name: ref.text("name"), Key: ref.text("key")}
	if found.Key == "" {
		found.Key = usual
	}
	return found
}

// keyPair takes certificate and key, which Sallyport has in one Secret of type kubernetes.io/tls.
func keyPair(f *fields, certificate, private string) string {
	a, b := secretKey(f, certificate, "tls.crt"), secretKey(f, private, "tls.key")
	if a.Name != b.Name || a.Key != "tls.crt" || b.Key != "tls.key" {
		f.note(Elsewhere, certificate, "Sallyport takes certificate and key from one Secret of type kubernetes.io/tls, keys tls.crt and tls.key: make "+
			"Secret %s one", a.Name)
	}
	return a.Name
}

// storeLogin turns the login of a store into that of a VaultConfig.
func storeLogin(f *fields, spec *v1alpha1.VaultConfigSpec) bool {
	namespace := strings.Trim(f.text("namespace"), "/")
	if namespace == spec.VaultNamespace {
		namespace = ""
	}
	auth := &spec.Auth
	switch {
	case f.isSet("tokenSecretRef"):
		auth.Token = &v1alpha1.TokenAuth{SecretKeyRef: secretKey(f, "tokenSecretRef", "token")}
	case f.isSet("appRole"):
		role := f.part("appRole")
		auth.AppRole = &v1alpha1.AppRoleAuth{
			Mount: mountOf(role.text("path"), "approle"), VaultNamespace: namespace, RoleID: role.text("roleId"),
			SecretIDSecretKeyRef: secretKey(role, "secretRef", "secret-id"),
		}
		if auth.AppRole.RoleID == "" {
			role.needless("roleRef")
			role.note(NoEqual, "roleRef", "the role ID is no secret, and Sallyport takes none from a Secret: write it into roleId, and migrate again")
			return false
		}
	case f.isSet("kubernetes"):
		auth.Kubernetes = serviceAccountLogin(f.part("kubernetes"), "kubernetes", "mountPath", namespace)
		return auth.Kubernetes != nil
	case f.isSet("jwt"):
		auth.JWT = serviceAccountLogin(f.part("jwt"), "jwt", "path", namespace)
		return auth.JWT != nil
	case f.isSet("userPass"):
		auth.UserPass = passwordLogin(f.part("userPass"), "userpass", namespace)
	case f.isSet("ldap"):
		auth.LDAP = passwordLogin(f.part("ldap"), "ldap", namespace)
	case f.isSet("cert"):
		cert := f.part("cert")
		auth.Cert = &v1alpha1.CertAuth{
			Mount: mountOf(cert.text("path"), "cert"), VaultNamespace: namespace, Role: cert.text("vaultRole"),
			ClientCertificateSecretRef: v1alpha1.TLSSecretReference{Name: keyPair(cert, "clientCert", "secretRef")},
		}
	default:
		for _, method := range []string{"iam", "gcp"} {
			f.noEqual(method, "Sallyport does not log in by clouds: use kubernetes or jwt with a service account")
		}
		if len(f.content) == 0 {
			f.note(NoEqual, "", "it has no login: set one in the store, and migrate again")
		}
		return false
	}
	return true
}

func passwordLogin(f *fields, usual, namespace string) *v1alpha1.PasswordAuth {
	return &v1alpha1.PasswordAuth{
		Mount: mountOf(f.text("path"), usual), VaultNamespace: namespace, Username: f.text("username"),
		PasswordSecretKeyRef: secretKey(f, "secretRef", "password"),
	}
}

// serviceAccountLogin turns a login with a service account's token; nil if the token is made by nobody.
func serviceAccountLogin(f *fields, method, mountField, namespace string) *v1alpha1.ServiceAccountAuth {
	made := f.part("kubernetesServiceAccountToken")
	account := f
	if method == "jwt" {
		account = made
		made.needless("expirationSeconds")
	}
	ref := account.part("serviceAccountRef")
	ref.needless("namespace")
	login := &v1alpha1.ServiceAccountAuth{
		Mount: mountOf(f.text(mountField), method), VaultNamespace: namespace,
		Role: f.text("role"), ServiceAccountName: ref.text("name"),
	}
	if login.ServiceAccountName == "" {
		field := "serviceAccountRef"
		if f.isSet("secretRef") {
			field = "secretRef"
		}
		f.needless("secretRef")
		f.note(NoEqual, field, "Sallyport makes the token for each login itself: name a service account in serviceAccountRef of the store, which "+
			"Vault's role accepts, and migrate again")
		return nil
	}
	f.needless("secretRef")
	audiences := append(ref.texts("audiences"), made.texts("audiences")...)
	login.Audience = audienceOf(ref, "audiences", audiences, loginOf(login, method))
	return login
}

// namespaceName is what allowedNamespaces takes.
var namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// grants lets the namespaces use a VaultConfig that could use the ClusterSecretStore.
func (m *externalSecrets) grants(o *opened, path string) []v1alpha1.NamespaceGrant {
	if path == "" {
		o.part("provider").part("vault").note(NoEqual, "path", "without it other namespaces are let in nowhere: set the mount path of the engine, "+
			"and migrate again, or write allowedNamespaces yourself")
		o.needless("conditions")
		return nil
	}
	prefixes := []v1alpha1.PathPrefix{v1alpha1.PathPrefix(path)}
	conditions := o.list("conditions")
	if len(conditions) == 0 {
		o.note(Differs, "conditions", "every namespace may use the VaultConfig for all of the engine, as it could the store: narrow "+
			"allowedNamespaces, for instance to %s/{{namespace}}", path)
		return []v1alpha1.NamespaceGrant{{Selector: &v1alpha1.NamespaceSelector{}, PathPrefixes: prefixes}}
	}
	var grants []v1alpha1.NamespaceGrant
	for _, condition := range conditions {
		condition.noEqual("namespaceRegexes", "allowedNamespaces takes names and labels: label these namespaces, and use selector")
		var names []v1alpha1.NamespaceName
		for _, name := range condition.texts("namespaces") {
			if namespaceName.MatchString(name) {
				names = append(names, v1alpha1.NamespaceName(name))
			}
		}
		if len(names) > 0 {
			grants = append(grants, v1alpha1.NamespaceGrant{Names: names, PathPrefixes: prefixes})
		}
		if !condition.isSet("namespaceSelector") {
			continue
		}
		selector := &v1alpha1.NamespaceSelector{}
		if err := json.Unmarshal(encoded(condition.value("namespaceSelector")), selector); err != nil {
			condition.note(NoEqual, "namespaceSelector", "it is no selector; correct the manifest")
			continue
		}
		grants = append(grants, v1alpha1.NamespaceGrant{Selector: selector, PathPrefixes: prefixes})
	}
	return grants
}
