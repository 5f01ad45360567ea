package projection

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Layout is which files a Connection makes and how. It serves one request: what its templates may cost is counted over all of them.
type Layout struct {
	// fixed are the files that say what the Connection is.
	fixed []File
	// files that the author chose; without any, each key makes one.
	files []file
}

// file makes one file.
type file struct {
	spec     *v1alpha1.ConnectionFile
	template *fileTemplate
}

// NewLayout returns the layout of a Connection whose value has these keys at the top level. It finds all that is wrong and can be told before
// a secret is read. The error is a *fault.Fault.
func NewLayout(spec *v1alpha1.ConnectionSpec, keys []string) (*Layout, error) {
	if spec.Type == "" {
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, `spec.type is empty; it becomes the file "type", so give it a value`)
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
	meter := &meter{left: maxWork}
	for i := range spec.Files {
		made, err := newFile(&spec.Files[i], keys, meter)
		if err != nil {
			return nil, fault.InField(err, "file %q", bounded(spec.Files[i].Path))
		}
		layout.files = append(layout.files, made)
	}
	return layout, nil
}

func newFile(spec *v1alpha1.ConnectionFile, keys []string, meter *meter) (file, error) {
	if spec.Template == "" {
		return file{spec: spec}, validateEntries(spec.Format, keys)
	}
	parsed, err := parseTemplate(spec.Template, meter)
	return file{spec: spec, template: parsed}, err
}

// Texts returns the texts of files that may hold references, by path.
func (l *Layout) Texts() map[string]string {
	texts := map[string]string{}
	for _, file := range l.files {
		if file.spec.Value != "" {
			texts[file.spec.Path] = file.spec.Value
		}
	}
	return texts
}

// Files projects a resolved value, and the texts with their references resolved. Without files of the author's choice there is one
// for each key: strings as they are and everything else as compact JSON. They are sorted by path. Equal values make equal files, byte for
// byte. The error is a *fault.Fault that names a file or a key, and never what is in it.
func (l *Layout) Files(value, texts map[string]any) ([]File, error) {
	files, err := l.chosen(value, texts)
	if len(l.files) == 0 {
		files, err = perKey(l.fixed, value)
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

func (l *Layout) chosen(value, texts map[string]any) ([]File, error) {
	files := make([]File, 0, len(l.files)+len(l.fixed))
	for _, file := range l.files {
		content, err := file.content(value, texts)
		if err != nil {
			return nil, fault.InField(err, "file %q", bounded(file.spec.Path))
		}
		made := File{Path: file.spec.Path, Content: content}
		if file.spec.Mode != nil {
			made.Mode = uint32(*file.spec.Mode) & 0o777 //nolint:gosec // the API bounds it, and the mask does once more
		}
		files = append(files, made)
		// At once: a hundred files of the whole of a large value would fill the memory before they are counted.
		if err := validateSize(files); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func (f file) content(value, texts map[string]any) ([]byte, error) {
	var content []byte
	var err error
	switch {
	case f.template != nil:
		content, err = f.template.execute(value)
	case f.spec.Format != "":
		return format(f.spec.Format, value)
	default:
		if content, err = encode(texts[f.spec.Path]); err != nil {
			err = fault.Transient(v1alpha1.ReasonInternal, "it cannot be written as JSON") // what the encoder says may quote the value
		}
	}
	if err != nil || f.spec.Encoding == "" {
		return content, err
	}
	return decodeBase64(content)
}

// decodeBase64 returns the bytes that the text stands for. Only line breaks and blanks are forgiven.
func decodeBase64(text []byte) ([]byte, error) {
	text = bytes.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, text)
	content := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(content, text)
	if err != nil {
		return nil, fault.Waiting(v1alpha1.ReasonNotRepresentable, "its text is not base64 (the standard alphabet of RFC 4648, with padding); "+
			"correct what Vault holds, or leave out encoding")
	}
	return content[:n], nil
}

// perKey makes one file of each key of the value.
func perKey(fixed []File, value map[string]any) ([]File, error) {
	keys := sortedKeys(value)
	if err := validateNames(fixed, keys); err != nil {
		return nil, err
	}
	files := make([]File, 0, len(keys)+len(fixed))
	for _, key := range keys {
		if own := slices.IndexFunc(fixed, func(f File) bool { return f.Path == key }); own >= 0 {
			if text, ok := value[key].(string); !ok || text != string(fixed[own].Content) {
				return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "collides with the file %q, which holds spec.%[1]s (%q)", key, bounded(string(fixed[own].Content))).
					OnField("key %q of value", key).WithRemedy("remove the key, rename it, or give it that same string")
			}
			continue
		}
		content, err := encode(value[key])
		if err != nil {
			// What the encoder says may quote the value.
			return nil, fault.Transient(v1alpha1.ReasonInternal, "cannot be written as JSON").OnField("key %q of value", bounded(key))
		}
		files = append(files, File{Path: key, Content: content})
	}
	return files, nil
}

// validatePaths refuses what the API server refuses already: an object may be older than its rules.
func validatePaths(files []v1alpha1.ConnectionFile) error {
	seen := map[string]bool{typeFile: true, providerFile: true}
	for i := range files {
		path := files[i].Path
		problem := brokenRule(path)
		if problem == "" && seen[path] {
			problem = "there is another file of this name"
		}
		if problem != "" {
			return fault.Terminal(v1alpha1.ReasonInvalidFileName, "files[%d].path %q cannot be the name of a file: %s; choose another one",
				i, bounded(path), problem)
		}
		seen[path] = true
	}
	return nil
}

// errKey puts a key in front of what is wrong with it.
func errKey(key, format string, args ...any) error {
	return fault.Waiting(v1alpha1.ReasonNotRepresentable, format, args...).OnField("key %q", bounded(key))
}
