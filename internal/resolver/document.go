package resolver

import (
	"context"
	"maps"
	"slices"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/projection"
)

// document is what a Connection says its files are, before anything was looked up.
type document struct {
	spec   *v1alpha1.ConnectionSpec
	value  *expression.Value
	texts  *expression.Value
	layout *projection.Layout
	// spreads: keys of secrets become keys of value, which are known when these were read; open: some are not known even
	// then, because only a pod can read the secret.
	spreads, open bool
}

// newDocument reads a Connection with a pod's overrides.
func newDocument(connection *v1alpha1.Connection, overrides map[string]string) (*document, error) {
	listed, err := spreadListed(&connection.Spec)
	if err != nil {
		return nil, err
	}
	keys := slices.AppendSeq(slices.Collect(maps.Keys(connection.Spec.Value)), maps.Keys(listed))
	slices.Sort(keys)
	// Overrides add no key. More keys than there can be files are not parsed.
	layout, err := projection.NewLayout(&connection.Spec, slices.Compact(keys))
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
	return &document{
		spec: &connection.Spec, value: value.With(listed), texts: texts, layout: layout,
		spreads: slices.ContainsFunc(connection.Spec.VaultSecrets, spreadsAll),
	}, nil
}

// spreadRead adds the keys of the secrets that were read, and looks whether files can be made with them.
func (d *document) spreadRead(keysOf func(secret string) ([]string, error)) error {
	references, err := spreadListed(d.spec)
	if err != nil {
		return err
	}
	for i := range d.spec.VaultSecrets {
		if !spreadsAll(d.spec.VaultSecrets[i]) {
			continue
		}
		var keys []string
		if keys, err = keysOf(spreadName(d.spec.VaultSecrets, i)); err != nil {
			return fault.InField(err, "vaultSecrets[%d]", i)
		}
		d.open = d.open || keys == nil
		if err := spread(references, d.spec, i, keys); err != nil {
			return err
		}
	}
	d.value = d.value.With(references)
	if d.layout, err = projection.NewLayout(d.spec, d.value.Keys()); err != nil {
		f := fault.From(err)
		return f.WithClass(fault.ClassWaiting).WithRemedy("what is spread brought it: list the keys that are wanted, give them a prefix, or name files")
	}
	return nil
}

func (d *document) references() []expression.Placed {
	return slices.Concat(d.value.References(), d.texts.References())
}

// checkFiles finds what is wrong with the files whatever Vault holds.
func (d *document) checkFiles(ctx context.Context) error {
	unknown := func(expression.Text) any { return projection.Unknown{} }
	return d.layout.Check(ctx, d.value.Outline(unknown), d.texts.Outline(unknown), d.open)
}

// checkReferences finds out whether every reference leads to a key. It looks at no value.
func (d *document) checkReferences(lookup expression.Lookup) error {
	for _, placed := range d.references() {
		_, err := lookup(placed.Reference)
		if err != nil && (!fault.Absent(err) || placed.Reference.Default == "") {
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
