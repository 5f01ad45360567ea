package migrate

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// inEngine is a secret at a path of the engine that the object names.
func (o *opened) inEngine(path string) v1alpha1.VaultSecret {
	return v1alpha1.VaultSecret{EnginePath: strings.Trim(o.text("mount"), "/"), SecretPath: strings.Trim(path, "/")}
}

// kindStatic has the one secret that may have any keys, and can be read to know them.
const kindStatic = "VaultStaticSecret"

// staticSecret turns a VaultStaticSecret into a bundle with the keys of its Secret.
func (m *vaultOperator) staticSecret(ctx context.Context, o *opened) error {
	secret := o.inEngine(o.text("path"))
	if version := o.number("version"); version > 0 {
		secret.Version = &version
	}
	o.needless("type", "hmacSecretData")
	if o.part("syncConfig").truth("instantUpdates") {
		o.note(Differs, "syncConfig", "what a VaultTask writes reaches files at once, what others write within refreshInterval")
	}
	restarts := m.restartTargets(o, true)
	return m.synced(ctx, o, secret, nil, restarts)
}

// dynamicSecret turns a VaultDynamicSecret into a bundle.
func (m *vaultOperator) dynamicSecret(ctx context.Context, o *opened) error {
	secret := o.inEngine(o.text("path"))
	parameters := take[map[string]any](o.fields, "params", "an object")
	method := strings.ToUpper(o.text("requestHTTPMethod"))
	if method == "PUT" || method == "POST" || len(parameters) > 0 {
		secret.Method = v1alpha1.SecretMethodPost
		if len(parameters) > 0 {
			secret.Parameters = &apiextensionsv1.JSON{Raw: encoded(parameters)}
		}
		o.written()
	}
	o.needless("revoke", "allowStaticCreds")
	o.differs("renewalPercent", "a lease is renewed after two thirds of its life")
	if !strings.HasPrefix(secret.SecretPath, "static-creds/") {
		o.note(Differs, "", "each volume is given a credential of its own, which is revoked when its pod is gone; the Secret's was everybody's")
	}
	restarts := m.restartTargets(o, false)
	return m.synced(ctx, o, secret, nil, restarts)
}

// written says who may have Vault write.
func (o *opened) written() {
	o.note(Elsewhere, "", writes)
}

// pkiKeys are what Vault answers to pki/issue.
var pkiKeys = []string{
	"ca_chain", "certificate", "expiration", "issuing_ca", "private_key", "private_key_type", "serial_number",
}

// tlsCertificate is what the operator writes into tls.crt: the issuer in place of a chain that there is not.
const tlsCertificate = `{{ .certificate }}` +
	`{{ range .ca_chain }}{{ "\n" }}{{ . }}{{ else }}{{ "\n" }}{{ .issuing_ca }}{{ end }}`

// pkiSecret turns a VaultPKISecret into a bundle.
func (m *vaultOperator) pkiSecret(ctx context.Context, o *opened) error {
	path := "issue/" + o.text("role")
	if issuer := o.text("issuerRef"); issuer != "" {
		path = "issuer/" + issuer + "/" + path
	}
	secret := o.inEngine(path)
	secret.Method = v1alpha1.SecretMethodPost
	parameters := map[string]any{}
	for field, parameter := range map[string]string{
		"commonName": "common_name", "ttl": "ttl", "format": "format", "privateKeyFormat": "private_key_format",
		"notAfter": "not_after",
	} {
		if text := o.text(field); text != "" {
			parameters[parameter] = text
		}
	}
	for field, parameter := range map[string]string{
		"altNames": "alt_names", "ipSans": "ip_sans", "uriSans": "uri_sans", "otherSans": "other_sans", "userIDs": "user_ids",
	} {
		if texts := o.texts(field); len(texts) > 0 {
			parameters[parameter] = strings.Join(texts, ",")
		}
	}
	if o.truth("excludeCNFromSans") {
		parameters["exclude_cn_from_sans"] = true
	}
	// As the operator always asks.
	parameters["remove_roots_from_chain"] = true
	secret.Parameters = &apiextensionsv1.JSON{Raw: encoded(parameters)}
	o.needless("clear")
	o.differs("expiryOffset", "a certificate is issued anew after two thirds of its life")
	o.noEqual("revoke", "certificates of pods that are gone are not revoked: let their ttl be short")
	o.note(Differs, "", "each volume is given a certificate of its own; the Secret's was everybody's")
	o.written()
	restarts := m.restartTargets(o, false)
	return m.synced(ctx, o, secret, pkiKeys, restarts)
}

// restartTargets are the workloads that are rolled when the Secret changes.
func (m *vaultOperator) restartTargets(o *opened, followed bool) []target {
	var targets []target
	for _, item := range o.list("rolloutRestartTargets") {
		// The operator's word for Argo's kind is argo.Rollout.
		kind := strings.TrimPrefix(item.text("kind"), "argo.")
		to := target{kind, key{o.namespace, item.text("name")}}
		switch {
		case !followed:
			item.note(NoEqual, "", "credentials that are each pod's own roll no workload: have the program read its files anew, or give them a life "+
				"longer than its own")
		case rollable[to.kind] == "":
			item.note(NoEqual, "kind", "sallyport.dev/restart-on-change is for Deployments, StatefulSets, DaemonSets and Rollouts, not for %s", to.kind)
		default:
			targets = append(targets, to)
		}
	}
	return targets
}

// synced makes a bundle of the keys that a destination has.
func (m *vaultOperator) synced(
	ctx context.Context, o *opened, secret v1alpha1.VaultSecret, known []string, restarts []target,
) error {
	into := o.part("destination")
	b := &bundle{key: key{o.namespace, into.text("name")}, of: o.object, wanted: true, refresh: intervalOf(o.fields, "refreshAfter")}
	at := b.key
	into.needless("create", "overwrite", "labels", "annotations")
	config, err := m.configFor(ctx, o)
	if err != nil || config == "" {
		return err
	}
	if secret.EnginePath == "" || secret.SecretPath == "" || b.name == "" {
		o.note(NoEqual, "", "it has no mount, no path or no destination.name; correct the manifest")
		return nil
	}
	secret.VaultConfigRef = v1alpha1.VaultConfigReference{Name: config}
	alias := b.attach(secret)
	transformation, before := into.part("transformation"), m.losses()
	made := m.transformed(transformation, b, alias)
	keys, err := m.keys(ctx, at)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		if keys = transformation.literals("includes"); len(keys) == 0 {
			keys = known
		}
	}
	if slices.ContainsFunc(transformation.texts("excludes"), isEverything) {
		keys = nil
	}
	transformation.needless("excludes", "includes", "excludeRaw", "resync")
	keys = slices.DeleteFunc(slices.Clone(keys), func(name string) bool { return slices.Contains(made, name) })
	m.sources(into, b, alias, keys)
	b.lost = m.losses() > before
	chosen := transformation.isSet("includes") || transformation.isSet("excludes")
	if len(b.files)+len(made) == 0 && !chosen && o.source.GetKind() == kindStatic {
		b.spread = alias
	}
	if len(b.files) == 0 && b.spread == "" {
		if len(made) == 0 {
			o.note(NoEqual, "destination", cureKeys, at)
		}
		return nil
	}
	o.rest()
	m.keep(b)
	m.secrets[at] = b
	for _, to := range restarts {
		m.restarts[to] = true
		object, err := m.in.find(ctx, schema.GroupKind{Group: rollable[to.kind], Kind: to.kind}, to.key)
		if err == nil && object == nil {
			o.note(Elsewhere, "rolloutRestartTargets", "annotate %s %s with sallyport.dev/restart-on-change: it is not among the manifests", to.kind, to.key)
		}
	}
	return nil
}

// isEverything tells whether a pattern is one that takes every key.
func isEverything(pattern string) bool {
	return slices.Contains([]string{".*", "^.*$", ".+", "^.+$"}, pattern)
}

// anchored is a pattern that takes one key alone.
var anchored = regexp.MustCompile(`^\^([A-Za-z0-9_-]+)\$$`)

// literals are the keys of patterns, if each takes one alone.
func (f *fields) literals(name string) []string {
	var keys []string
	for _, pattern := range f.texts(name) {
		found := anchored.FindStringSubmatch(pattern)
		if found == nil {
			return nil
		}
		keys = append(keys, found[1])
	}
	return keys
}

// chainOr is a reference to the chain of a certificate, which Vault leaves out where there is nothing but a root.
func chainOr(alias string) string {
	return strings.TrimSuffix(reference(alias, "ca_chain"), ")") + ", [])"
}

// sources adds the keys that Vault answers with. What is a list there, the operator joins for the keys of certificates.
func (m *vaultOperator) sources(into *fields, b *bundle, alias string, keys []string) {
	isTLS := into.text("type") == "kubernetes.io/tls" && len(b.files) == 0
	for _, of := range keys {
		switch {
		case of == "ca_chain":
			b.give("ca_chain", chainOr(alias))
			b.add(into, "", file{name: of, template: `{{ join "\n" .ca_chain }}`})
		case isTLS && (of == "tls.crt" || of == "tls.key"):
		default:
			b.add(into, "", file{name: of, text: reference(alias, of)})
		}
	}
	if isTLS && slices.Contains(keys, "certificate") {
		b.give("ca_chain", chainOr(alias))
		b.give("certificate", reference(alias, "certificate"))
		b.give("issuing_ca", reference(alias, "issuing_ca"))
		b.add(into, "type", file{name: "tls.crt", template: tlsCertificate})
		b.add(into, "type", file{name: "tls.key", text: reference(alias, "private_key")})
	}
}

// transformed adds a file for each template, and returns the names of all, also of those that have no equal.
func (m *vaultOperator) transformed(f *fields, b *bundle, alias string) []string {
	f.noEqual("transformationRefs", "write the templates of the SecretTransformation into files[].template of the Connection")
	templates := f.part("templates")
	names := slices.Sorted(maps.Keys(templates.content))
	for _, name := range names {
		one := templates.part(name)
		text, ok := translated(one, "text", one.text("text"), nil, ofSecrets)
		one.needless("name")
		if !ok || text == "" {
			continue
		}
		for _, of := range takes(text) {
			b.give(of, reference(alias, of))
		}
		b.add(one, "", file{name: name, template: text})
	}
	return names
}
