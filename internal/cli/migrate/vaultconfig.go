package migrate

import (
	"cmp"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// writes says who may have Vault write.
const writes = "a secret that Vault answers to a write is made once for each volume: whoever writes the Connection needs the right to " +
	"create VaultTasks"

// config returns the name of a VaultConfig of the namespace with the spec, and makes it if there is none.
func (m *migration) config(of key, spec v1alpha1.VaultConfigSpec) string {
	for _, other := range m.configs {
		if other.Namespace == of.namespace && equality.Semantic.DeepEqual(other.Spec, spec) {
			return other.Name
		}
	}
	name := free(objectName(of.name), func(name string) bool {
		return slices.ContainsFunc(m.configs, func(c *v1alpha1.VaultConfig) bool {
			return c.Namespace == of.namespace && c.Name == name
		})
	})
	m.configs = append(m.configs, &v1alpha1.VaultConfig{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "VaultConfig"},
		ObjectMeta: metav1.ObjectMeta{Namespace: of.namespace, Name: name},
		Spec:       spec,
	})
	return name
}

// addressOf takes the URL of Vault; without one, that of the options. It is empty if there is none, and then reported.
func addressOf(f *fields, name string) string {
	text := f.text(name)
	if text == "" {
		text = f.m.VaultURL
	}
	if text == "" {
		f.note(NoEqual, name, "it names no Vault, which was the installation's to know: give its address with --vault-url")
		return ""
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "https" && parsed.Scheme != "http") {
		f.note(NoEqual, name, "%q is no URL of Vault's; write it as https://vault.example.com:8200", text)
		return ""
	}
	path := parsed.EscapedPath() + "/"
	for _, own := range []string{"/v1/", "/ui/"} { // Vault's own, below what a gateway has in front
		path, _, _ = strings.Cut(path, own)
	}
	path = strings.TrimRight(path, "/")
	if path != strings.TrimRight(parsed.EscapedPath(), "/") || parsed.RawQuery != "" || parsed.User != nil {
		f.note(NoEqual, name, "Sallyport reaches Vault at an address: what is Vault's own in the path, query and user name were left out")
	}
	address := parsed.Scheme + "://" + parsed.Host + path
	if parsed.Scheme == "http" {
		f.note(Elsewhere, name, "plain http is refused unless the controller is started with --allowed-vault-urls=%s; better have Vault serve https",
			address)
	}
	return address
}

// headerText is what the API takes for the text of a header.
var headerText = regexp.MustCompile(`^[[:graph:]]([[:print:]]*[[:graph:]])?$`)

// headersOf takes the headers that another program sends with all requests, by their names.
func headersOf(f *fields) []v1alpha1.VaultHeader {
	given := take[map[string]any](f, "headers", "an object")
	var headers []v1alpha1.VaultHeader
	for _, name := range slices.Sorted(maps.Keys(given)) {
		header := v1alpha1.VaultHeader{Name: name}
		value, isText := given[name].(string)
		value = strings.TrimSpace(value)
		twice := slices.ContainsFunc(headers, func(h v1alpha1.VaultHeader) bool { return strings.EqualFold(h.Name, name) })
		switch {
		case !header.MayBeSent():
			f.note(NoEqual, "headers", "%q was left out: Sallyport says itself what such a header says, or what stands before Vault does", name)
		case header.HoldsCredential():
			f.note(Elsewhere, "headers", "%q was left out, for it is a credential: put its text into a Secret, and name that by headers[].secretKeyRef", name)
		case !isText || !headerText.MatchString(value) || len(value) > v1alpha1.MaxHeaderText:
			f.note(NoEqual, "headers", "%q was left out: its value is no text that a header can have", name)
		case twice || len(headers) == v1alpha1.MaxHeaders:
			f.note(NoEqual, "headers", "%q was left out: there is one of that name already, or %d others", name, v1alpha1.MaxHeaders)
		default:
			headers = append(headers, v1alpha1.VaultHeader{Name: name, Value: value})
		}
	}
	if len(headers) > 0 {
		f.note(Differs, "headers", "every reader of the VaultConfig sees them: put what is secret into a Secret, and name that by secretKeyRef")
	}
	return headers
}

// authorityIn is a key of a Secret with the authority of Vault's certificate.
func authorityIn(secret, key string) *v1alpha1.CACertificateSource {
	return &v1alpha1.CACertificateSource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: secret, Key: key}}
}

// authority sets the ConfigMap of the options where nothing else says which authorities Vault's certificate has.
func (m *migration) authority(spec *v1alpha1.VaultConfigSpec) bool {
	if m.CA == nil || spec.CACertificate != "" || spec.CACertificateFrom != nil {
		return false
	}
	ref := *m.CA
	spec.CACertificateFrom = &v1alpha1.CACertificateSource{ConfigMapKeyRef: &ref}
	return true
}

// authorityOnDisk reports a CA that lies where only the other program could read it.
func authorityOnDisk(f *fields, spec *v1alpha1.VaultConfigSpec, names ...string) {
	given := f.m.authority(spec)
	for _, name := range names {
		if f.isSet(name) && !given {
			f.note(Elsewhere, name, "it is a file of another program's: put the authority into a ConfigMap and name it with --vault-ca NAME/KEY")
		}
		f.needless(name)
	}
}

// unverified reports TLS without verification.
func unverified(f *fields, name string) {
	f.noEqual(name, "Sallyport always verifies Vault's certificate: name its authority (caCertificateFrom of the VaultConfig, or --vault-ca)")
}

// mountOf is the mount path of an auth method as Sallyport writes it: nothing where it is the usual one.
func mountOf(path, usual string) v1alpha1.MountPath {
	path = strings.Trim(strings.TrimPrefix(strings.Trim(path, "/"), "auth/"), "/")
	if path == usual {
		return ""
	}
	return v1alpha1.MountPath(path)
}

// login is what a role of Vault's must accept.
type login struct {
	role, mount string
	// workload: pods log in themselves, with tokens of the kubelet's.
	workload bool
}

// audienceOf takes the audience of a service account's token, of which Sallyport has one. Empty is Sallyport's default.
func audienceOf(f *fields, name string, audiences []string, by login) string {
	audience := v1alpha1.DefaultVaultAudience
	if len(audiences) > 0 {
		audience = audiences[0]
	}
	if len(audiences) > 1 {
		f.note(NoEqual, name, "a token has one audience: %q was taken; Vault's role must accept it", audience)
	}
	lower := strings.ToLower(audience)
	foreign := strings.Contains(lower, "kubernetes.default.svc") || strings.HasPrefix(lower, "sallyport.dev")
	switch {
	case len(audiences) == 0 || foreign:
		f.note(Elsewhere, name, "Sallyport logs in with tokens for the audience %q, which open nothing else: have Vault's role accept it "+
			"(audience in auth/%s/role/%s, bound_audiences where the method is jwt), or a second role for the time of the move",
			v1alpha1.DefaultVaultAudience, cmp.Or(by.mount, "kubernetes"), by.role)
		return ""
	case audience == v1alpha1.DefaultVaultAudience:
		return ""
	case by.workload:
		f.note(Elsewhere, name, "add the audience %q to spec.tokenRequests of CSIDriver %s, for the kubelet to make tokens for it", audience, v1alpha1.DriverName)
	case !strings.Contains(lower, "vault") && !strings.Contains(lower, "openbao"):
		f.note(Elsewhere, name, "the admission policy sallyport-token-requests allows audiences with vault or openbao in them: allow %q there, "+
			"or have Vault's role accept another", audience)
	}
	return audience
}

// loginOf is what a role of Vault's must accept of a login.
func loginOf(by *v1alpha1.ServiceAccountAuth, method string) login {
	return login{by.Role, cmp.Or(string(by.Mount), method), false}
}

// ofWorkload is a login by the pods' own service accounts.
func ofWorkload(mount v1alpha1.MountPath, role, audience string) v1alpha1.VaultAuth {
	return v1alpha1.VaultAuth{
		Kubernetes: &v1alpha1.ServiceAccountAuth{Mount: mount, Role: role, Workload: new(true), Audience: audience},
	}
}
