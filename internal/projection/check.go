package projection

import (
	"context"
	"errors"
	"slices"

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

// checkFile returns what is known of the content of a file: never more than it will have.
func (l *Layout) checkFile(source fileSource, value, literals, texts map[string]any) ([]byte, error) {
	if source.template != nil {
		return l.checkTemplate(source, value)
	}
	if source.spec.Format != "" {
		return writeFormat(source.spec.Format, literals)
	}
	for place := range source.texts() {
		if containsUnknown(texts[place]) {
			return nil, nil
		}
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
	case Unknown:
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
