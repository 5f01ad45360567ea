package resolver

import (
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
	value, err := expression.ParseValue(connection.Spec.Value)
	if err != nil {
		return nil, err
	}
	if value, err = value.WithOverrides(overrides); err != nil {
		return nil, err
	}
	layout, err := projection.NewLayout(&connection.Spec, value.Keys())
	if err != nil {
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

// check finds out whether every reference can be resolved.
func (d *document) check(lookup func(expression.Reference) (any, error)) error {
	if _, err := d.value.Evaluate(lookup); err != nil {
		return err
	}
	_, err := d.texts.Evaluate(lookup)
	return err
}

// files resolves the references and makes the files.
func (d *document) files(lookup func(expression.Reference) (any, error)) ([]projection.File, error) {
	values, err := d.value.Evaluate(lookup)
	if err != nil {
		return nil, err
	}
	texts, err := d.texts.Evaluate(lookup)
	if err != nil {
		return nil, err
	}
	return d.layout.Files(values, texts)
}
