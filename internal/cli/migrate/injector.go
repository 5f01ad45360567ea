package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Annotations of Vault's agent injector.
const (
	annotationAgent  = "vault.hashicorp.com/"
	annotationInject = annotationAgent + "agent-inject"
)

// injector is Vault's agent injector.
type injector struct {
	*migration
	into *pods
}

// injected is a file that the agent writes.
type injected struct {
	// raw is its name in annotations.
	raw, dir string
	file
}

// inject puts Connections into the place of the agent of a pod template. It returns whether there is one.
func (m *injector) inject(w *Workload) bool {
	if on, err := strconv.ParseBool(fmt.Sprint(w.annotations()[annotationInject])); err != nil || !on {
		return false
	}
	f := &fields{m: m.migration, object: w.called, at: "annotations", content: map[string]any{}, seen: map[string]bool{}}
	for name, value := range w.annotations() {
		if own, is := strings.CutPrefix(name, annotationAgent); is {
			f.content[own] = value
		}
	}
	configs, config := len(m.configs), ""
	if f.isSet("agent-configmap") {
		f.noEqual("agent-configmap", "a configuration of the agent's own is not read: write its templates into annotations, and migrate again")
	} else {
		config = m.agentConfig(w, f)
	}
	if config == "" {
		f.note(NoEqual, "", "the pod template was left as it is, to the injector")
		return true
	}
	before := m.losses()
	name := objectName(w.name, "vault")
	b := &bundle{key: key{w.namespace, name}, of: w.called, wanted: true}
	if every := f.text("template-static-secret-render-interval"); every != "" {
		b.refresh = intervalOf(f, "template-static-secret-render-interval")
	}
	files := m.files(f, b, config)
	f.passOver()
	f.rest()
	if len(files) == 0 || m.losses() > before {
		m.configs = m.configs[:configs]
		f.note(NoEqual, "", "the pod template was left as it is, to the injector, for not all of its files have an equal")
		return true
	}
	m.mount(w, f, b, files)
	return true
}

// agentConfig makes the VaultConfig with which a pod logs in as its agent did; empty if there is none.
func (m *injector) agentConfig(w *Workload, f *fields) string {
	spec := v1alpha1.VaultConfigSpec{URL: addressOf(f, "service"), VaultNamespace: strings.Trim(f.text("namespace"), "/")}
	role := cmp.Or(f.text("role"), f.text("auth-config-role"))
	f.needless("auth-config-role")
	method := cmp.Or(f.text("auth-type"), "kubernetes")
	mount := mountOf(cmp.Or(f.text("auth-path"), "auth/"+method), method)
	if role == "" {
		f.note(NoEqual, "role", "it names no role of Vault's to log in to; correct the manifest")
	}
	if method != "kubernetes" && method != "jwt" {
		f.note(NoEqual, "auth-type", "pods log in by kubernetes or jwt only; for %q write a VaultConfig by hand", method)
	}
	if role == "" || spec.URL == "" || (method != "kubernetes" && method != "jwt") {
		return ""
	}
	account := &v1alpha1.ServiceAccountAuth{
		Mount: mount, Role: role, Workload: new(true),
		Audience: audienceOf(f, "role", nil, login{role, cmp.Or(string(mount), method), true}),
	}
	if method == "jwt" {
		spec.Auth.JWT = account
	} else {
		spec.Auth.Kubernetes = account
	}
	m.agentTLS(f, &spec)
	if proxy := f.text("proxy-address"); proxy != "" {
		spec.Proxy = &v1alpha1.VaultProxy{URL: proxy}
	}
	if text := f.text("client-timeout"); text != "" {
		if timeout, err := time.ParseDuration(text); err == nil {
			spec.Limits = &v1alpha1.VaultLimits{Timeout: &metav1.Duration{Duration: min(max(timeout, time.Second), time.Minute)}}
		}
	}
	return m.config(key{w.namespace, "vault-" + role}, spec)
}

// agentTLS takes what an agent reads from the Secret that is mounted for it.
func (m *injector) agentTLS(f *fields, spec *v1alpha1.VaultConfigSpec) {
	if name := f.text("tls-server-name"); name != "" {
		spec.TLS = &v1alpha1.VaultTLS{ServerName: name}
	}
	secret, authority, certificate := f.text("tls-secret"), f.text("ca-cert"), f.text("client-cert")
	f.needless("ca-key", "client-key")
	if secret != "" && authority != "" {
		spec.CACertificateFrom = authorityIn(secret, path.Base(authority))
	}
	authorityOnDisk(f, spec)
	if authority != "" && spec.CACertificateFrom == nil {
		f.note(Elsewhere, "ca-cert", "it is a file of the agent's: put the authority into a ConfigMap and name it with --vault-ca NAME/KEY")
	}
	if certificate != "" {
		if spec.TLS == nil {
			spec.TLS = &v1alpha1.VaultTLS{}
		}
		spec.TLS.ClientCertificateSecretRef = &v1alpha1.TLSSecretReference{Name: cmp.Or(secret, "vault-client")}
		f.note(Elsewhere, "client-cert", "Sallyport takes certificate and key from a Secret of type kubernetes.io/tls, keys tls.crt and tls.key: make Secret "+
			"%s one", spec.TLS.ClientCertificateSecretRef.Name)
	}
	if skip, err := strconv.ParseBool(f.text("tls-skip-verify")); err == nil && skip {
		unverified(f, "tls-skip-verify")
	}
}

// files are those that annotations ask for.
func (m *injector) files(f *fields, b *bundle, config string) []injected {
	raws := map[string]bool{}
	for name := range f.content {
		for _, prefix := range []string{"agent-inject-secret-", "agent-inject-template-file-", "agent-inject-template-"} {
			if raw, is := strings.CutPrefix(name, prefix); is {
				raws[raw] = true
				break
			}
		}
	}
	var files []injected
	for _, raw := range slices.Sorted(maps.Keys(raws)) {
		if made, ok := m.file(f, b, config, raw); ok {
			files = append(files, made)
		}
	}
	return files
}

// file is one of them.
func (m *injector) file(f *fields, b *bundle, config, raw string) (injected, bool) {
	own := func(name string) string { return f.text(name + "-" + raw) }
	f.needless("agent-template-right-delim-"+raw, "error-on-missing-key-"+raw, "agent-inject-secret-"+raw,
		"agent-inject-template-"+raw)
	name := raw
	if keeps, _ := strconv.ParseBool(cmp.Or(own("preserve-secret-case"), f.text("preserve-secret-case"))); !keeps {
		name = strings.ToLower(raw)
	}
	everybodys := f.text("secret-volume-path")
	dir := cmp.Or(own("secret-volume-path"), everybodys, "/vault/secrets")
	inPod := path.Join(dir, cmp.Or(own("agent-inject-file"), name))
	made := injected{raw: raw, dir: path.Dir(inPod), file: file{name: path.Base(inPod)}}
	if problem := misnamed(made.name); problem != "" {
		f.note(NoEqual, "agent-inject-file-"+raw, "%s", problem)
		return made, false
	}
	if text := own("agent-inject-perms"); text != "" {
		mode, err := strconv.ParseInt(text, 8, 32)
		if err != nil {
			f.note(NoEqual, "agent-inject-perms-"+raw, "%q is no mode of a file in octal; correct the manifest", text)
			return made, false
		}
		made.mode = fileMode(mode | 0o400)
	}
	f.differs("agent-inject-command-"+raw, "no command is run when the file changes: annotate the workload with sallyport.dev/restart-on-change, or "+
		"have the program watch its files")
	f.noEqual("agent-template-left-delim-"+raw, "write the template with {{ and }}")
	f.noEqual("agent-inject-template-file-"+raw, "the template is in the image, where this command cannot read it: write it into "+
		"agent-inject-template-%s, and migrate again", raw)
	text := own("agent-inject-template")
	if text == "" {
		if !f.isSet("agent-inject-template-file-" + raw) {
			f.note(NoEqual, "agent-inject-secret-"+raw, "the agent's own template prints all of a secret, and a reference names its key: write the keys "+
				"that the program needs into agent-inject-template-%s, and migrate again", raw)
		}
		return made, false
	}
	t := &agentTemplate{
		f: f, field: "agent-inject-template-" + raw, b: b, config: config, variables: map[string]*agentSecret{},
	}
	ok := t.translate(text, &made.file)
	return made, ok
}

// mount makes a volume of each directory that files are in, and removes the annotations.
func (m *injector) mount(w *Workload, f *fields, b *bundle, files []injected) {
	dirs := map[string][]file{}
	for _, one := range files {
		dirs[one.dir] = append(dirs[one.dir], one.file)
	}
	only := strings.FieldsFunc(f.text("agent-inject-containers"), func(r rune) bool { return r == ',' || r == ' ' })
	first, _ := strconv.ParseBool(f.text("agent-init-first"))
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		of := b
		if len(dirs) > 1 {
			of = &bundle{
				key: key{b.namespace, objectName(b.name, path.Base(dir))}, of: b.of, wanted: true,
				secrets: b.secrets, refresh: b.refresh,
			}
		}
		of.files = dirs[dir]
		of.value = given(b.value, of.files)
		m.keep(of)
		volume := free("vault-secrets", func(name string) bool {
			return slices.ContainsFunc(objects(w.spec()["volumes"]), func(v map[string]any) bool { return v["name"] == name })
		})
		w.mount(volume, of.key)
		for _, c := range w.containers() {
			if (c.field == "containers" || first) && (len(only) == 0 || slices.Contains(only, c.name)) {
				w.mountInto(c, volume, dir)
			}
		}
		m.into.nested(w, volume)
	}
	var names []string
	for name := range f.content {
		names = append(names, annotationAgent+name)
	}
	w.unannotate(names...)
}

// given is what of a value the templates of files take.
func given(value map[string]any, files []file) map[string]any {
	taken := map[string]any{}
	for _, one := range files {
		for _, name := range takes(one.template) {
			if value[name] != nil {
				taken[name] = value[name]
			}
		}
	}
	return taken
}

// passOver reports what only an agent in the pod could do, and passes over how it is run.
func (f *fields) passOver() {
	for _, name := range []string{"agent-inject-token", "agent-cache-use-auto-auth-token"} {
		if on, _ := strconv.ParseBool(f.text(name)); on {
			f.note(NoEqual, name, "no token of Vault's comes into a pod: have the program read files only")
		}
	}
	if on, _ := strconv.ParseBool(f.text("agent-cache-enable")); on {
		f.note(NoEqual, "agent-cache-enable", "nothing in the pod speaks for it with Vault: have the program read files only")
	}
	f.noEqual("agent-extra-secret", "nothing but Connections is mounted")
	f.noEqual("agent-inject-default-template", "it prints all of a secret, and a reference names its key")
	if only, _ := strconv.ParseBool(f.text("agent-pre-populate-only")); only {
		f.note(Differs, "agent-pre-populate-only", "mounted files always follow Vault; pin a version to hold one")
	}
	for name := range f.content {
		for _, prefix := range []string{
			"agent-limits-", "agent-requests-", "agent-run-as-", "agent-disable-", "agent-auto-auth-", "template-", "auth-m",
			"log-", "agent-cache-", "agent-revoke-", "agent-init-", "agent-inject-perms", "secret-volume-path",
			"agent-inject-file", "preserve-secret-case",
		} {
			if strings.HasPrefix(name, prefix) {
				f.needless(name)
			}
		}
	}
	f.needless("agent-inject", "agent-inject-status", "agent-image", "agent-request-namespace", "agent-pre-populate",
		"agent-share-process-namespace", "agent-set-security-context", "agent-service-account-token-volume-name",
		"client-max-retries", "go-max-procs", "agent-enable-quit", "agent-json-patch", "agent-telemetry",
		"error-on-missing-key", "agent-copy-volume-mounts", "agent-inject-containers", "agent-init-first")
}
