package migrate

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// bundle is what a Secret or a volume of theirs holds, before it is a Connection.
type bundle struct {
	key
	// of is the object that it was made of.
	of string
	// wanted bundles become Connections. That of a Secret beside a SecretProviderClass does so only if a volume needs
	// it.
	wanted  bool
	secrets []v1alpha1.VaultSecret
	// value is what templates are given, beside what files are.
	value   map[string]any
	files   []file
	refresh *metav1.Duration
	// unnamed: references do not say which of the secrets has their key.
	unnamed bool
	// spread is a secret whose keys are files, whichever it has; empty if each file is known.
	spread string
	// lost: some of its files have no equal, so that it takes no volume's place.
	lost bool
}

// file is a file of a volume, or a key of a Secret.
type file struct {
	name string
	// text may hold references; template takes from the bundle's value; one of both.
	text, template string
	base64         bool
	mode           *int32
}

// attach adds a secret and returns the name that references call it by. What is attached already has its name.
func (b *bundle) attach(secret v1alpha1.VaultSecret) string {
	for _, other := range b.secrets {
		name := other.Name
		other.Name = ""
		if equality.Semantic.DeepEqual(other, secret) {
			return name
		}
	}
	secret.Name = free(alias(secret.SecretPath), func(name string) bool {
		return slices.ContainsFunc(b.secrets, func(s v1alpha1.VaultSecret) bool { return s.Name == name })
	})
	b.secrets = append(b.secrets, secret)
	return secret.Name
}

// fileName is the path of a file, as the CRD has it.
var fileName = regexp.MustCompile(`^[-._a-zA-Z0-9]+(/[-._a-zA-Z0-9]+){0,7}$`)

// give gives templates a value.
func (b *bundle) give(name, text string) {
	if b.value == nil {
		b.value = map[string]any{}
	}
	b.value[name] = text
}

// within gives templates an object, to be filled.
func (b *bundle) within(name string) map[string]any {
	if b.value == nil {
		b.value = map[string]any{}
	}
	return inside(b.value, name)
}

// add adds a file, unless a volume of Sallyport's cannot hold one of its name, which the report then says of the field.
func (b *bundle) add(f *fields, field string, added file) {
	problem := misnamed(added.name)
	if problem == "" && slices.ContainsFunc(b.files, func(other file) bool { return other.name == added.name }) {
		problem = "the name is given twice; choose another"
	}
	if problem != "" {
		f.note(NoEqual, field, "%s", problem)
		return
	}
	b.files = append(b.files, added)
}

// leading parts of paths lead elsewhere, or are the volume's own.
var leading = regexp.MustCompile(`(^|/)[.]($|/|[.])`)

func misnamed(name string) string {
	switch {
	case slices.Contains([]string{"type", "provider"}, strings.SplitN(name, "/", 2)[0]):
		name = strings.SplitN(name, "/", 2)[0]
		return `the file "` + name + `" is Sallyport's own (spec.` + name + ` of the Connection); ` +
			"have the program read another name"
	case !fileName.MatchString(name) || len(name) > 253 || leading.MatchString(name):
		return `"` + name + `" cannot be the name of a file: letters and digits of ASCII, ".", "_" and "-" can`
	}
	return ""
}

// names of the files.
func (b *bundle) names() []string {
	var names []string
	for _, f := range b.files {
		names = append(names, f.name)
	}
	return names
}

// plain tells whether each file is a key of value and nothing more.
func (b *bundle) plain() bool {
	return len(b.value) == 0 && !slices.ContainsFunc(b.files, func(f file) bool {
		return f.template != "" || f.base64 || f.mode != nil || strings.Contains(f.name, "/")
	})
}

// used are the secrets that a reference calls, and one that is spread.
func (b *bundle) used() []v1alpha1.VaultSecret {
	var texts strings.Builder
	for _, f := range b.files {
		texts.WriteString(f.text)
	}
	texts.Write(encoded(b.value))
	secrets := slices.Clone(b.secrets)
	for i := range secrets {
		if secrets[i].Name == b.spread {
			secrets[i].Spread = new(true)
		}
	}
	return slices.DeleteFunc(secrets, func(s v1alpha1.VaultSecret) bool {
		return !b.unnamed && s.Name != b.spread && !strings.Contains(texts.String(), "vault.secret("+s.Name+".")
	})
}

// connection is the bundle as Sallyport has it.
func (b *bundle) connection() *v1alpha1.Connection {
	c := &v1alpha1.Connection{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Connection"},
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: b.name},
		Spec:       v1alpha1.ConnectionSpec{Type: "generic", VaultSecrets: b.used(), RefreshInterval: b.refresh},
	}
	value := maps.Clone(b.value)
	if b.plain() {
		value = map[string]any{}
		for _, f := range b.files {
			value[f.name] = f.text
		}
	} else {
		for _, f := range b.files {
			made := v1alpha1.ConnectionFile{Path: f.name, Value: f.text, Template: f.template, Mode: f.mode}
			if f.base64 {
				made.Encoding = v1alpha1.FileEncodingBase64
			}
			c.Spec.Files = append(c.Spec.Files, made)
		}
	}
	if len(value) > 0 {
		c.Spec.Value = map[string]apiextensionsv1.JSON{}
		for name, v := range value {
			c.Spec.Value[name] = apiextensionsv1.JSON{Raw: encoded(v)}
		}
	}
	return c
}

// encoded is JSON without the escapes that are for HTML.
func encoded(value any) []byte {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return []byte("null")
	}
	return []byte(strings.TrimSpace(out.String()))
}

// keep makes a bundle one of the result.
func (m *migration) keep(b *bundle) {
	b.name = free(b.name, func(name string) bool {
		return slices.ContainsFunc(m.bundles, func(other *bundle) bool { return other.key == key{b.namespace, name} })
	})
	m.bundles = append(m.bundles, b)
}

// variant returns a bundle with other files of the same secrets, for a volume that names or protects them otherwise.
// Volumes that want the same share one.
func (m *migration) variant(of *bundle, volume string, files []file) *bundle {
	made := &bundle{
		key: key{of.namespace, objectName(of.name, volume)}, of: of.of, wanted: true,
		secrets: of.secrets, value: of.value,
		files: files, refresh: of.refresh, unnamed: of.unnamed,
	}
	for _, other := range m.bundles {
		if other.namespace == made.namespace && other.of == made.of && reflect.DeepEqual(other.files, made.files) {
			other.wanted = true
			return other
		}
	}
	m.keep(made)
	return made
}
