package migrate

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// providerClasses are those of the Secrets Store CSI Driver.
type providerClasses struct{ *migration }

// providerClass turns a SecretProviderClass into a bundle: pods log in themselves, each object is a file.
func (m *providerClasses) providerClass(_ context.Context, o *opened) error {
	m.classes[o.key] = nil
	if provider := o.text("provider"); provider != "vault" {
		o.note(NoEqual, "provider", "it is %q, and Sallyport reads from Vault only: leave the class to the Secrets Store CSI Driver", provider)
		return nil
	}
	parameters, before := o.part("parameters"), len(m.configs)
	config, ok := m.classConfig(o, parameters)
	if !ok {
		return nil
	}
	b, losses := &bundle{key: o.key, of: o.object, wanted: true}, m.losses()
	for _, item := range o.yamlList(parameters, "objects") {
		classObject(item, b, config)
	}
	b.lost = m.losses() > losses
	if len(b.files) == 0 {
		parameters.note(NoEqual, "objects", "it names no object that could be migrated")
		m.configs = m.configs[:before]
		return nil
	}
	m.keep(b)
	m.classes[o.key] = b
	m.classSecrets(o, b)
	o.rest()
	return nil
}

// classConfig makes the VaultConfig of a class.
func (m *providerClasses) classConfig(o *opened, f *fields) (string, bool) {
	spec := v1alpha1.VaultConfigSpec{
		URL: addressOf(f, "vaultAddress"), VaultNamespace: strings.Trim(f.text("vaultNamespace"), "/"),
	}
	role := f.text("roleName")
	if role == "" {
		f.note(NoEqual, "roleName", "it names no role of Vault's to log in to; correct the manifest")
	}
	if spec.URL == "" || role == "" {
		return "", false
	}
	mount := mountOf(f.text("vaultKubernetesMountPath")+f.text("vaultAuthMountPath"), "kubernetes")
	// Without one, the provider of today asks for the audience vault, as Sallyport does.
	audiences := []string{valueOr(f.text("audience"), v1alpha1.DefaultVaultAudience)}
	audience := audienceOf(f, "audience", audiences, login{role, string(mount), true})
	spec.Auth = ofWorkload(mount, role, audience)
	if name := f.text("vaultTLSServerName"); name != "" {
		spec.TLS = &v1alpha1.VaultTLS{ServerName: name}
	}
	authorityOnDisk(f, &spec, "vaultCACertPath", "vaultCADirectory")
	for _, name := range []string{"vaultTLSClientCertPath", "vaultTLSClientKeyPath"} {
		if f.isSet(name) {
			f.note(Elsewhere, name, "it is a file of the provider's: put certificate and key into a Secret of type kubernetes.io/tls and name it in "+
				"tls.clientCertificateSecretRef of the VaultConfig")
		}
		f.needless(name)
	}
	if f.text("vaultSkipTLSVerify") == "true" {
		unverified(f, "vaultSkipTLSVerify")
	}
	return m.config(key{o.namespace, "vault-" + role}, spec), true
}

func valueOr(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// yamlList reads a parameter that holds a list as YAML.
func (o *opened) yamlList(f *fields, name string) []*fields {
	var items []any
	if err := yaml.Unmarshal([]byte(f.text(name)), &items); err != nil {
		f.note(NoEqual, name, "it is no list in YAML; correct the manifest")
		return nil
	}
	holder := f.below(f.at, map[string]any{name: items}) // at the place of f itself, where no part of it is
	return holder.list(name)
}

// classObject turns an object of a class into a file.
func classObject(f *fields, b *bundle, config string) {
	name, path, secretKey := f.text("objectName"), f.text("secretPath"), f.text("secretKey")
	if name == "" || path == "" {
		f.note(NoEqual, "", "it has no objectName or no secretPath; correct the manifest")
		return
	}
	secret, ok := secretAt(f, path, config)
	method, arguments := strings.ToUpper(f.text("method")), f.part("secretArgs")
	if !ok || !askedFor(f, &secret, method, arguments) {
		return
	}
	made := file{name: name}
	switch encoding := strings.ToLower(f.text("encoding")); encoding {
	case "", "utf-8":
	case "base64":
		made.base64 = true
	default:
		f.note(NoEqual, "encoding", "%q is not known to Sallyport, which decodes base64 only: store the value as text or base64", encoding)
		return
	}
	if mode := f.number("filePermission"); mode != 0 {
		made.mode = fileMode(mode)
	}
	if secretKey == "" {
		f.note(NoEqual, "secretKey", "without it the file holds Vault's whole answer, with its lease ID; name the key that the program needs, "+
			"one object for each")
		return
	}
	made.text = reference(b.attach(secret), secretKey)
	b.add(f, "objectName", made)
}

// secretAt is a secret of Vault's at a path of its API.
func secretAt(f *fields, path, config string) (v1alpha1.VaultSecret, bool) {
	engine, rest, sure := split(path)
	if engine == "" {
		f.note(NoEqual, "", "%q is no path of a secret: it has the engine's mount path and something behind it", path)
		return v1alpha1.VaultSecret{}, false
	}
	if !sure {
		f.note(Elsewhere, "", "%q does not tell where the engine's mount path ends: enginePath %s and secretPath %s were taken; correct them if the "+
			"engine is mounted further down", path, engine, rest)
	}
	ref := v1alpha1.VaultConfigReference{Name: config}
	return v1alpha1.VaultSecret{VaultConfigRef: ref, EnginePath: engine, SecretPath: rest}, true
}

// askedFor sets how a secret is asked for.
func askedFor(f *fields, secret *v1alpha1.VaultSecret, method string, arguments *fields) bool {
	switch method {
	case "", "GET":
		if version, err := strconv.ParseInt(textOf(arguments.value("version")), 10, 64); err == nil && version > 0 {
			secret.Version = &version
		}
		return true
	case "PUT", "POST":
		secret.Method = v1alpha1.SecretMethodPost
		if len(arguments.content) > 0 {
			secret.Parameters = &apiextensionsv1.JSON{Raw: encoded(arguments.content)}
		}
		for name := range arguments.content {
			arguments.needless(name)
		}
		f.m.note(Elsewhere, f.object, "", writes)
		return true
	}
	f.note(NoEqual, "method", "%q is not known to Sallyport, which asks with GET or POST", method)
	return false
}

func textOf(value any) string {
	if text, is := value.(string); is {
		return text
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(encoded)
}

// classSecrets are the Secrets that the driver syncs while pods mount the class.
func (m *providerClasses) classSecrets(o *opened, class *bundle) {
	for _, item := range o.list("secretObjects") {
		name := item.text("secretName")
		item.needless("type", "labels", "annotations")
		synced := &bundle{key: key{o.namespace, name}, of: o.object, secrets: class.secrets}
		for _, entry := range item.list("data") {
			from := entry.text("objectName")
			for _, one := range class.files {
				if one.name == from {
					one.name = entry.text("key")
					synced.add(entry, "key", one)
				}
			}
		}
		m.keep(synced)
		m.secrets[key{o.namespace, name}] = synced
		item.note(NoEqual, "", "Sallyport makes no Secret: what mounts Secret %s is given a Connection, and what needs it otherwise is in this report", name)
	}
}
