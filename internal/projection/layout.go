package projection

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/projection/keystore"
)

// Layout is the list of files of a Connection and how each is made. It serves one request: its templates share one work
// budget.
type Layout struct {
	// fixed are the files type and provider.
	fixed []File
	// chosen are the author's files; without any, each key of the value makes one.
	chosen []fileSource
	budget *workBudget
}

// fileSource is what one chosen file is made from: a format, a text, a template, or a key store. Beside a template the
// format is what its output has to be.
type fileSource struct {
	spec     *v1alpha1.ConnectionFile
	template *fileTemplate
}

// NewLayout returns the layout of a Connection whose value has these keys at the top level. It finds every mistake that
// can be found before a secret is read. The error is a *fault.Fault.
func NewLayout(spec *v1alpha1.ConnectionSpec, keys []string) (*Layout, error) {
	if spec.Type == "" {
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, `spec.type is empty`).
			WithRemedy(`it becomes the file "type", so give it a value`)
	}
	layout := &Layout{fixed: []File{{Path: typeFile, Content: []byte(spec.Type)}}}
	if spec.Provider != "" {
		layout.fixed = append(layout.fixed, File{Path: providerFile, Content: []byte(spec.Provider)})
	}
	if len(spec.Files) == 0 {
		return layout, validateNames(layout.fixed, keys)
	}
	if err := validatePaths(spec.Files); err != nil {
		return nil, err
	}
	if err := validateKeystores(spec.Files); err != nil {
		return nil, err
	}
	layout.budget = &workBudget{left: maxWork}
	for i := range spec.Files {
		source, err := newFileSource(&spec.Files[i], keys, layout.budget)
		if err != nil {
			return nil, fault.InField(err, "file %q", bounded(spec.Files[i].Path))
		}
		layout.chosen = append(layout.chosen, source)
	}
	return layout, nil
}

// maxKeystores bounds the key stores of one volume: each takes up to 12 ms to make, which no budget interrupts.
const maxKeystores = 32

func validateKeystores(files []v1alpha1.ConnectionFile) error {
	count := 0
	for i := range files {
		if files[i].Keystore != nil {
			count++
		}
	}
	if count <= maxKeystores {
		return nil
	}
	return fault.Terminal(v1alpha1.ReasonTooLarge, "files makes %d key stores; a volume holds at most %d", count, maxKeystores).
		WithRemedy("use several Connections")
}

func newFileSource(spec *v1alpha1.ConnectionFile, keys []string, budget *workBudget) (fileSource, error) {
	if spec.Template == "" {
		return fileSource{spec: spec}, validateFormatKeys(spec.Format, keys)
	}
	parsed, err := parseTemplate(spec.Template, budget)
	return fileSource{spec: spec, template: parsed}, err
}

// texts are those of the file that may hold references, by its path and, for a key store, the field.
func (s fileSource) texts() map[string]string {
	texts := map[string]string{}
	if s.spec.Value != "" {
		texts[s.spec.Path] = s.spec.Value
	}
	if k := s.spec.Keystore; k != nil {
		texts[s.keystoreField("password")] = k.Password
		if k.PrivateKey != "" {
			texts[s.keystoreField("privateKey")] = k.PrivateKey
		}
		for i, text := range k.Certificates {
			texts[s.keystoreField("certificates[%d]", i)] = text
		}
	}
	return texts
}

// keystoreField is a place. No path holds a blank.
func (s fileSource) keystoreField(format string, args ...any) string {
	return s.spec.Path + " keystore." + fmt.Sprintf(format, args...)
}

// keystore makes a key store of texts with their references resolved.
func (s fileSource) keystore(texts map[string]any) ([]byte, error) {
	password, err := encode(texts[s.keystoreField("password")])
	if err != nil {
		return nil, jsonFault(err)
	}
	parts := keystore.Parts{Password: string(password), Alias: s.spec.Keystore.Alias}
	if s.spec.Keystore.PrivateKey != "" {
		key, _ := texts[s.keystoreField("privateKey")].(string)
		parts.PrivateKey = &key
	}
	for i := range s.spec.Keystore.Certificates {
		value := texts[s.keystoreField("certificates[%d]", i)]
		list, isList := value.([]any)
		if !isList && value != nil {
			list = []any{value}
		}
		for _, item := range list {
			text, _ := item.(string)
			parts.Certificates = append(parts.Certificates, text)
		}
	}
	return keystore.Write(s.spec.Keystore.Format, parts)
}

// Texts returns the texts of files that may hold references, by the place that errors show: a path, or field of a key
// store after it.
func (l *Layout) Texts() map[string]string {
	texts := map[string]string{}
	for _, source := range l.chosen {
		maps.Copy(texts, source.texts())
	}
	return texts
}

// Origin is what a file is made from, beside the values of secrets.
type Origin struct {
	Path string
	// Keys of the value that go into the file; or the places of the file's own Texts.
	Keys  []string
	Texts []string
	// Spec is what the author says of the file; nil if it is that of a key.
	Spec *v1alpha1.ConnectionFile
}

// Origins returns what each file is made from whose content may come from a secret, for a value with these keys.
func (l *Layout) Origins(keys []string) []Origin {
	if len(l.chosen) == 0 {
		origins := make([]Origin, len(keys))
		for i, key := range keys {
			origins[i] = Origin{Path: key, Keys: keys[i : i+1]}
		}
		return origins
	}
	origins := make([]Origin, len(l.chosen))
	for i, source := range l.chosen {
		origins[i] = Origin{Path: source.spec.Path, Spec: source.spec, Keys: keys}
		if texts := source.texts(); len(texts) > 0 {
			origins[i].Keys, origins[i].Texts = nil, sortedKeys(texts)
		}
	}
	return origins
}

// Files returns the files of a resolved value and of the texts with their references resolved, sorted by path. Without
// chosen files there is one for each key: strings as they are and everything else as compact JSON. Equal values make
// equal files, byte for byte. Those whose path is in kept are not made. The value is no more the caller's: its numbers
// become Go's. The error is a *fault.Fault that names a file or a key, never its content.
func (l *Layout) Files(ctx context.Context, value, texts map[string]any, kept map[string]bool) ([]File, error) {
	var files []File
	var err error
	if len(l.chosen) > 0 {
		files, err = l.chosenFiles(ctx, value, texts, kept)
	} else {
		files, err = perKey(l.fixed, value, kept)
	}
	if err != nil {
		return nil, err
	}
	files = append(files, l.fixed...)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	if err := validateSize(files); err != nil {
		return nil, err
	}
	return files, nil
}

func (l *Layout) chosenFiles(ctx context.Context, value, texts map[string]any, kept map[string]bool) ([]File, error) {
	if err := l.begin(ctx, value); err != nil {
		return nil, err
	}
	files := make([]File, 0, len(l.chosen)+len(l.fixed))
	for _, source := range l.chosen {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		file := File{Path: source.spec.Path, Mode: source.mode(), Kept: kept[source.spec.Path]}
		if !file.Kept {
			var err error
			if file.Content, err = source.content(value, texts); err != nil {
				return nil, fault.InField(err, "file %q", bounded(source.spec.Path))
			}
		}
		files = append(files, file)
		// After each file: a hundred files of a large value would fill the memory before a check at the end.
		if err := validateSize(files); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// begin has templates end with the context, and gives them a value with Go's integers.
func (l *Layout) begin(ctx context.Context, value map[string]any) error {
	l.budget.interrupted = ctx.Err
	if !slices.ContainsFunc(l.chosen, func(s fileSource) bool { return s.template != nil }) {
		return nil
	}
	if _, err := templateValue(value); err != nil {
		return fault.Waiting(v1alpha1.ReasonInvalidTemplate, "%v", err)
	}
	return nil
}

// mode is the permission bits that the author chose; 0 if none.
func (s fileSource) mode() uint32 {
	if s.spec.Mode == nil {
		return 0
	}
	return uint32(*s.spec.Mode) & 0o777 //nolint:gosec // bounded by the API and the mask
}

func (s fileSource) content(value, texts map[string]any) ([]byte, error) {
	var content []byte
	var err error
	switch {
	case s.template != nil:
		content, err = s.template.execute(value)
		if err == nil && s.spec.Format == v1alpha1.FileFormatJSON {
			err = validateJSON(content)
		}
	case s.spec.Keystore != nil:
		return s.keystore(texts)
	case s.spec.Format != "":
		return writeFormat(s.spec.Format, value)
	default:
		if content, err = encode(texts[s.spec.Path]); err != nil {
			err = jsonFault(err)
		}
	}
	if err != nil || s.spec.Encoding == "" {
		return content, err
	}
	return decodeBase64(content)
}

// perKey makes one file of each key of the value.
func perKey(fixed []File, value map[string]any, kept map[string]bool) ([]File, error) {
	keys := sortedKeys(value)
	if err := validateNames(fixed, keys); err != nil {
		return nil, err
	}
	files := make([]File, 0, len(keys)+len(fixed))
	for _, key := range keys {
		if i := slices.IndexFunc(fixed, func(f File) bool { return f.Path == key }); i >= 0 {
			if err := validateFixedKey(fixed[i], value[key]); err != nil {
				return nil, err
			}
			continue
		}
		file := File{Path: key, Kept: kept[key]}
		if !file.Kept {
			var err error
			if file.Content, err = encode(value[key]); err != nil {
				return nil, jsonFault(err).OnField("key %q of value", bounded(key))
			}
		}
		files = append(files, file)
		// After each file, as for chosen ones.
		if err := validateSize(files); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// validateFixedKey refuses a key with the name of a fixed file, unless it holds the same string.
func validateFixedKey(fixed File, value any) error {
	if text, ok := value.(string); ok && text == string(fixed.Content) {
		return nil
	}
	return fault.Terminal(v1alpha1.ReasonInvalidSpec, "collides with the file %q, which holds spec.%[1]s (%q)",
		fixed.Path, bounded(string(fixed.Content))).
		OnField("key %q of value", fixed.Path).WithRemedy("remove the key, rename it, or give it that same string")
}
