package projection

import (
	"context"
	"errors"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Check finds what is wrong with the files whatever Vault holds: Unknown stands in value and texts in the places of
// references. A template runs until its way depends on one; formats and limits are tried with what is known. So the
// fault, or that there is none, cannot depend on a value of a secret. Only an edit cures it. In an open value there may
// be more keys, so that nothing is known of a template.
func (l *Layout) Check(ctx context.Context, value, texts map[string]any, open bool) error {
	err := l.check(ctx, value, texts, open)
	if err == nil {
		return nil
	}
	f := fault.From(err)
	if f.Class == fault.ClassWaiting {
		f = f.WithClass(fault.ClassTerminal)
	}
	return f
}

func (l *Layout) check(ctx context.Context, value, texts map[string]any, open bool) error {
	literals := withoutUnknown(value)
	if len(l.chosen) == 0 {
		_, err := perKey(l.fixed, literals, nil)
		return err
	}
	if err := l.begin(ctx, value); err != nil {
		return err
	}
	l.budget.checking = true
	files := slices.Clone(l.fixed)
	for _, source := range l.chosen {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if open && source.template != nil {
			continue
		}
		content, err := l.checkFile(source, value, literals, texts)
		if err != nil {
			return fault.InField(err, "file %q", bounded(source.spec.Path))
		}
		files = append(files, File{Path: source.spec.Path, Content: content})
		if err := validateSize(files); err != nil {
			return err
		}
	}
	return nil
}

// Shown is a file without values, or why there is none.
type Shown struct {
	File
	// Missing says why there is no Content.
	Missing string
}

// Show makes the files where there are no values: a Mask stands in value and texts in the place of each string with
// references. A file that these do not make says so, and the others are made. Value and texts passed Check before, and
// are no more the caller's. In an open value there may be more keys.
func (l *Layout) Show(ctx context.Context, value, texts map[string]any, open bool) ([]Shown, error) {
	var made []Shown
	var err error
	if len(l.chosen) > 0 {
		made, err = l.showChosen(ctx, value, texts, open)
	} else {
		made, err = l.showKeys(value)
	}
	if err != nil {
		return nil, err
	}
	for _, fixed := range l.fixed {
		made = append(made, Shown{File: fixed})
	}
	slices.SortFunc(made, func(a, b Shown) int { return strings.Compare(a.Path, b.Path) })
	return made, nil
}

func (l *Layout) showKeys(value map[string]any) ([]Shown, error) {
	masked := withMasks(value)
	for _, fixed := range l.fixed {
		delete(masked, fixed.Path) // which the fixed file must equal
	}
	files, err := perKey(nil, masked, nil)
	if err != nil {
		return nil, err
	}
	made := make([]Shown, len(files))
	for i, file := range files {
		made[i].File = file
	}
	return made, nil
}

func (l *Layout) showChosen(ctx context.Context, value, texts map[string]any, open bool) ([]Shown, error) {
	*l.budget = workBudget{left: maxWork, checking: true, showing: true}
	masked, maskedTexts := withMasks(value), withMasks(texts)
	if err := l.begin(ctx, value); err != nil {
		return nil, err
	}
	made := make([]Shown, 0, len(l.chosen)+len(l.fixed))
	for _, source := range l.chosen {
		file := Shown{File: File{Path: source.spec.Path, Mode: source.mode()}}
		var err error
		switch {
		case source.template != nil:
			file.Content, err = source.showTemplate(value, l.budget)
		case source.spec.Format == "" && source.dependsOn(texts):
			file.Content, err = source.showText(maskedTexts)
		default:
			file.Content, err = source.content(masked, maskedTexts)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			file.Content, file.Missing = nil, fault.From(err).Message()
			if open && source.template != nil {
				file.Missing += " (or a key of a secret is meant of which every key is added)"
			}
		}
		made = append(made, file)
	}
	return made, nil
}

// showTemplate executes a template with a Mask in the place of each value that it prints.
func (s fileSource) showTemplate(value map[string]any, budget *workBudget) ([]byte, error) {
	budget.printedUnknown = false
	content, err := s.template.execute(value)
	switch {
	case err != nil || s.spec.Encoding == "":
		return content, err
	case budget.printedUnknown:
		return nil, errNotDecoded()
	}
	return decodeBase64(content)
}

// showText is a text with references, if the file is that text.
func (s fileSource) showText(masked map[string]any) ([]byte, error) {
	switch {
	case s.spec.Keystore != nil:
		return nil, notRepresentable("a key store is made of the values themselves: password, key and certificates", "")
	case s.spec.Encoding != "":
		return nil, errNotDecoded()
	}
	return s.content(nil, masked)
}

func errNotDecoded() error {
	return notRepresentable("its bytes are what a value in base64 decodes to", "")
}

// dependsOn tells whether there is an Unknown in the file's own texts.
func (s fileSource) dependsOn(texts map[string]any) bool {
	for place := range s.texts() {
		if containsUnknown(texts[place]) {
			return true
		}
	}
	return false
}

// withMasks returns the keys of a value with the text of each Mask in its place.
func withMasks(value map[string]any) map[string]any {
	masked := make(map[string]any, len(value))
	for key, item := range value {
		masked[key], _ = unmasked(item)
	}
	return masked
}

// checkFile returns what is known of the content of a file: never more than it will have.
func (l *Layout) checkFile(source fileSource, value, literals, texts map[string]any) ([]byte, error) {
	if source.template != nil {
		return l.checkTemplate(source, value)
	}
	if source.spec.Format != "" {
		return writeFormat(source.spec.Format, literals)
	}
	if source.dependsOn(texts) {
		return nil, nil
	}
	return source.content(value, texts)
}

func (l *Layout) checkTemplate(source fileSource, value map[string]any) ([]byte, error) {
	l.budget.printedUnknown = false
	content, err := source.template.execute(value)
	switch {
	case errors.Is(err, errUndecided):
		return nil, nil
	case err != nil:
		return nil, err
	case source.spec.Format == v1alpha1.FileFormatJSON && l.budget.printedUnknown:
		return content, checkJSONStart(content[:l.budget.known])
	case source.spec.Format == v1alpha1.FileFormatJSON:
		return content, checkJSON(content)
	case source.spec.Encoding == "":
		return content, nil
	case l.budget.printedUnknown:
		return nil, nil
	}
	return decodeBase64(content)
}

// withoutUnknown returns the keys of a value in which everything is known.
func withoutUnknown(value map[string]any) map[string]any {
	known := make(map[string]any, len(value))
	for key, item := range value {
		if !containsUnknown(item) {
			known[key] = item
		}
	}
	return known
}

func containsUnknown(value any) bool {
	switch v := value.(type) {
	case Unknown, Mask:
		return true
	case []any:
		return slices.ContainsFunc(v, containsUnknown)
	case map[string]any:
		for _, item := range v {
			if containsUnknown(item) {
				return true
			}
		}
	}
	return false
}
