package resolver

import (
	"context"
	"maps"
	"slices"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/projection"
)

// document is what a Connection says its files are, before anything was looked up.
type document struct {
	value  *expression.Value
	texts  *expression.Value
	layout *projection.Layout
}

// newDocument reads a Connection with a pod's overrides.
func newDocument(connection *v1alpha1.Connection, overrides map[string]string) (*document, error) {
	// Overrides add no key. More keys than there can be files are not parsed.
	layout, err := projection.NewLayout(&connection.Spec, slices.Sorted(maps.Keys(connection.Spec.Value)))
	if err != nil {
		return nil, err
	}
	value, err := expression.ParseValue(connection.Spec.Value)
	if err != nil {
		return nil, err
	}
	if value, err = value.WithOverrides(overrides); err != nil {
		return nil, err
	}
	texts, err := expression.ParseTexts(layout.Texts())
	if err != nil {
		return nil, err
	}
	return &document{value: value, texts: texts, layout: layout}, nil
}

func (d *document) references() []expression.Placed {
	return slices.Concat(d.value.References(), d.texts.References())
}

// checkFiles finds what is wrong with the files whatever Vault holds.
func (d *document) checkFiles(ctx context.Context) error {
	unknown := projection.Unknown{}
	return d.layout.Check(ctx, d.value.Outline(unknown), d.texts.Outline(unknown))
}

// checkReferences finds out whether every reference leads to a key. It looks at no value.
func (d *document) checkReferences(lookup expression.Lookup) error {
	for _, placed := range d.references() {
		if _, err := lookup(placed.Reference); err != nil {
			return placed.In(err)
		}
	}
	return nil
}

// files resolves the references and makes the files, other than those that are kept.
func (d *document) files(
	ctx context.Context, lookup expression.Lookup, kept map[string]bool,
) ([]projection.File, error) {
	values, err := d.value.Evaluate(ctx, lookup)
	if err != nil {
		return nil, err
	}
	texts, err := d.texts.Evaluate(ctx, lookup)
	if err != nil {
		return nil, err
	}
	return d.layout.Files(ctx, values, texts, kept)
}
