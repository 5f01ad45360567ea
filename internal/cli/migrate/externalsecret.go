package migrate

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// externalSecret turns an ExternalSecret into a bundle with the keys of its Secret.
func (m *externalSecrets) externalSecret(ctx context.Context, o *opened) error {
	into := o.part("target")
	b := &bundle{key: key{o.namespace, valueOr(into.text("name"), o.name)}, of: o.object, wanted: true, refresh: intervalOf(o.fields, "refreshInterval")}
	secret := b.key
	into.needless("creationPolicy", "deletionPolicy", "immutable", "manifest")
	nullBytes(into)
	if policy := o.text("refreshPolicy"); policy != "" && policy != "Periodic" {
		o.note(Differs, "refreshPolicy", "mounted files always follow Vault; pin a version to hold one")
	}
	if o.isSet("secretStoreRef") {
		// What has no equal in the store is no file's loss.
		if _, err := m.storeOf(ctx, o, m.nothing(o)); err != nil {
			return err
		}
	}
	complete, before := true, m.losses()
	for _, item := range o.list("data") {
		if err := m.externalData(ctx, o, item, b); err != nil {
			return err
		}
	}
	var extracts []v1alpha1.VaultSecret
	for _, item := range o.list("dataFrom") {
		extract, ok, err := m.extracted(ctx, o, item)
		if err != nil {
			return err
		}
		if complete = complete && ok; ok {
			extracts = append(extracts, extract)
		}
	}
	if err := m.addExtracts(ctx, o, b, secret, extracts); err != nil {
		return err
	}
	o.part("secretStoreRef").needless("name", "kind")
	externalTemplate(into, b, complete)
	if b.spread != "" && !b.plain() {
		// Files of its own choice leave out what is spread.
		o.note(NoEqual, "dataFrom", cureKeys, secret)
		b.spread = ""
	}
	b.lost = m.losses() > before
	o.rest()
	if len(b.files) == 0 && b.spread == "" {
		o.note(NoEqual, "", "nothing of it could be migrated: leave it to the External Secrets Operator")
		return nil
	}
	m.keep(b)
	m.secrets[secret] = b
	return nil
}

// storeOf returns the store of an ExternalSecret, or of one of its entries that has its own.
func (m *externalSecrets) storeOf(ctx context.Context, o *opened, item *fields) (*store, error) {
	ref := o.part("secretStoreRef")
	if source := item.part("sourceRef"); source.isSet("storeRef") {
		ref = source.part("storeRef")
	}
	name := ref.text("name")
	if name == "" {
		ref.note(NoEqual, "name", "it names no store; correct the manifest")
		return &store{}, nil
	}
	return m.storeFor(ctx, o.namespace, valueOr(ref.text("kind"), kindStore), name, ref)
}

// remoteSecret is the secret that a remoteRef or an extract names.
func remoteSecret(f *fields, s *store) (v1alpha1.VaultSecret, bool) {
	path := strings.Trim(f.text("key"), "/")
	if s.config.Name == "" || path == "" {
		if path == "" {
			f.note(NoEqual, "key", "it names no secret; correct the manifest")
		}
		return v1alpha1.VaultSecret{}, false
	}
	secret := v1alpha1.VaultSecret{VaultConfigRef: s.config, SecretPath: path}
	if s.path == "" {
		engine, rest, sure := split(path)
		if engine == "" {
			f.note(NoEqual, "key", "neither it nor the store says which engine: set the engine's mount path in spec.provider.vault.path of the store")
			return secret, false
		}
		if !sure {
			f.note(Elsewhere, "key", "neither it nor the store tells where the engine's mount path ends: enginePath %s and secretPath %s were taken",
				engine, rest)
		}
		secret.EnginePath, secret.SecretPath = engine, rest
	} else {
		secret.SecretPath = strings.TrimPrefix(path, s.path+"/")
		if !s.unversioned {
			secret.SecretPath = strings.TrimPrefix(secret.SecretPath, "data/")
		}
	}
	if version := f.text("version"); version != "" {
		number, err := strconv.ParseInt(version, 10, 64)
		if err != nil || number < 1 {
			f.note(NoEqual, "version", "%q is no version of a KV version 2 secret", version)
			return secret, false
		}
		secret.Version = &number
	}
	if policy := f.text("metadataPolicy"); policy == "Fetch" {
		f.note(NoEqual, "metadataPolicy", "references read values, not the metadata of a secret")
		return secret, false
	}
	f.needless("conversionStrategy")
	nullBytes(f)
	return secret, true
}

// nullBytes takes a nullBytePolicy, which the API server sets to Ignore where nobody did.
func nullBytes(f *fields) {
	if policy := f.text("nullBytePolicy"); policy != "" && policy != "Ignore" {
		f.note(Differs, "nullBytePolicy", "a value with a byte 0 is written as it is")
	}
}

// decodingOf takes a decodingStrategy.
func decodingOf(f *fields) (base64, ok bool) {
	switch strategy := f.text("decodingStrategy"); strategy {
	case "", "None":
		return false, true
	case "Base64":
		return true, true
	default:
		f.note(NoEqual, "decodingStrategy", "%q is not known to Sallyport, which decodes base64 with the standard alphabet", strategy)
		return false, false
	}
}

// externalData turns an entry of data into a file.
func (m *externalSecrets) externalData(ctx context.Context, o *opened, item *fields, b *bundle) error {
	s, err := m.storeOf(ctx, o, item)
	if err != nil {
		return err
	}
	if item.part("sourceRef").isSet("generatorRef") {
		item.part("sourceRef").noEqual("generatorRef", "Sallyport has no generators: a VaultTask with generate writes a value to Vault")
		item.needless("remoteRef", "secretKey")
		return nil
	}
	ref := item.part("remoteRef")
	secret, ok := remoteSecret(ref, s)
	name, property := item.text("secretKey"), ref.text("property")
	decode, decodes := decodingOf(ref)
	if !ok || !decodes {
		return nil
	}
	made := file{name: name, base64: decode}
	top, rest, nested := strings.Cut(property, ".")
	switch {
	case property == "":
		made.text = wholeSecret(b.attach(secret))
	case !nested:
		made.text = reference(b.attach(secret), property)
	case strings.ContainsAny(rest, "#*?|@\"\\"):
		ref.note(NoEqual, "property", "Sallyport follows keys into a value, and %q is more than that: store the part as a key of its own", property)
		return nil
	default:
		made.text = reference(b.attach(secret), strings.Split(property, ".")...)
		ref.note(Differs, "property", "it was taken for a part of %q; if the secret has a key of the name %q, refer to that one", top, property)
	}
	b.add(item, "secretKey", made)
	return nil
}

// extracted is the secret of an entry of dataFrom.
func (m *externalSecrets) extracted(ctx context.Context, o *opened, item *fields) (v1alpha1.VaultSecret, bool, error) {
	item.part("sourceRef").noEqual("generatorRef", "Sallyport has no generators: a VaultTask with generate writes a value to Vault")
	item.noEqual("find", "a Connection names its secrets, and does not search for them: name each in vaultSecrets")
	item.noEqual("rewrite", "a Connection names its files itself: give each the name that it is to have")
	lossy := item.isSet("rewrite")
	if !item.isSet("extract") {
		return v1alpha1.VaultSecret{}, false, nil
	}
	s, err := m.storeOf(ctx, o, item)
	if err != nil {
		return v1alpha1.VaultSecret{}, false, err
	}
	extract := item.part("extract")
	extract.noEqual("property", "an extract of a part of a secret is not known to Sallyport: name the keys in data")
	lossy = lossy || extract.isSet("property")
	secret, ok := remoteSecret(extract, s)
	decode, decodes := decodingOf(extract)
	if decode {
		extract.note(NoEqual, "decodingStrategy", "name the keys in data, and decode each there")
	}
	return secret, ok && decodes && !decode && !lossy, nil
}

// addExtracts adds a file for each key of the Secret that data did not name. Templates name those that they take.
func (m *externalSecrets) addExtracts(
	ctx context.Context, o *opened, b *bundle, secret key, extracts []v1alpha1.VaultSecret,
) error {
	if len(extracts) == 0 {
		return nil
	}
	template := o.part("target").part("template")
	templates, _ := template.value("data").(map[string]any)
	var keys []string
	for _, text := range templates {
		keys = append(keys, takes(text)...)
	}
	if len(templates) == 0 || template.text("mergePolicy") == "Merge" {
		given, err := m.keys(ctx, secret)
		if err != nil {
			return err
		}
		keys = append(keys, given...)
	}
	keys = slices.DeleteFunc(keys, func(name string) bool {
		return slices.Contains(b.names(), name) || templates[name] != nil
	})
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if len(keys) == 0 && len(extracts) == 1 && len(templates) == 0 {
		b.spread = b.attach(extracts[0])
		return nil
	}
	if len(keys) == 0 {
		o.note(NoEqual, "dataFrom", cureKeys, secret)
		return nil
	}
	var name string
	for _, extract := range extracts {
		name = b.attach(extract)
	}
	if len(extracts) > 1 {
		// The reference finds the secret that has the key.
		name, b.unnamed = "", true
	}
	for _, of := range keys {
		b.add(o.fields, "dataFrom", file{name: of, text: reference(name, of)})
	}
	return nil
}

// externalTemplate makes files of the templates of a target.
func externalTemplate(f *fields, b *bundle, complete bool) {
	template := f.part("template")
	template.needless("metadata")
	if of := template.text("type"); of != "" && of != "Opaque" {
		template.note(Differs, "type", "a Connection has no type that Kubernetes knows; what needs a Secret of type %s is in this report", of)
	}
	version, merge := template.text("engineVersion"), template.text("mergePolicy") == "Merge"
	template.noEqual("templateFrom", "write each file with files[].template of the Connection")
	data, _ := template.value("data").(map[string]any)
	if len(data) == 0 {
		return
	}
	if version == "v1" {
		template.note(NoEqual, "engineVersion", "templates of v1 have functions of their own: write the files by hand, with files[].template of the "+
			"Connection")
		return
	}
	raw := b.files
	b.files = nil
	if merge {
		b.files = slices.DeleteFunc(slices.Clone(raw), func(one file) bool { return data[one.name] != nil })
	}
	value := map[string]any{}
	for _, one := range raw {
		if one.base64 || one.template != "" {
			template.note(NoEqual, "", "the template of a key that is decoded or taken out of another (%s) must be written by hand", one.name)
			continue
		}
		value[one.name] = one.text
	}
	names := slices.Collect(maps.Keys(value))
	if !complete {
		names = nil
	}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		field := "data." + name
		text, _ := data[name].(string)
		if made, ok := translated(template, field, text, names, sprig); ok && made != "" {
			b.add(template, field, file{name: name, template: made})
		}
	}
	if b.value == nil {
		b.value = map[string]any{}
	}
	maps.Copy(b.value, value)
}
