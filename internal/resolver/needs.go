package resolver

import (
	"context"

	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/projection"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

// Need is a secret that references need, before anything was looked up.
type Need struct {
	Config types.NamespacedName
	// Location as it is written: without an EnginePath, that of the VaultConfig is meant.
	Location secrets.Location
	// VaultNamespace that the secret names; WayBelow makes it Location.Below.
	VaultNamespace string
}

// Needs returns the secrets that a Connection's references need, whichever pod mounts it. Errors are faults.
func Needs(connection *v1alpha1.Connection) ([]Need, error) {
	doc, err := newDocument(connection, nil)
	if err != nil {
		return nil, err
	}
	return needs(connection.Namespace, connection.Spec.VaultSecrets, doc.references())
}

// NeedsOfValue is Needs for a value that has no attached secrets, such as a VaultTask's data.
func NeedsOfValue(namespace string, value *expression.Value) ([]Need, error) {
	return needs(namespace, nil, value.References())
}

func needs(namespace string, attached []v1alpha1.VaultSecret, references []expression.Placed) ([]Need, error) {
	p, err := newPlan(namespace, attached, references)
	if err != nil {
		return nil, err
	}
	found := make([]Need, len(p.sources))
	for i, s := range p.sources {
		found[i] = Need{Config: ConfigKey(namespace, s.configRef), Location: s.location, VaultNamespace: s.vaultNamespace}
	}
	return found, nil
}

// Show returns the files of a Connection where there are no values: what mask returns stands in the place of each
// reference, and a file that this does not make says why. Nothing is asked, so that keys which only a secret tells are
// not there: see SpreadsAll. What is wrong whatever Vault holds is a fault.
func Show(
	ctx context.Context, connection *v1alpha1.Connection, mask func(expression.Reference) string,
) ([]projection.Shown, error) {
	if _, err := Needs(connection); err != nil {
		return nil, err
	}
	doc, err := newDocument(connection, nil)
	if err != nil {
		return nil, err
	}
	doc.open = doc.spreads
	if err := doc.checkFiles(ctx); err != nil {
		return nil, err
	}
	masked := func(text expression.Text) any { return projection.Mask(text.Mask(mask)) }
	return doc.layout.Show(ctx, doc.value.Outline(masked), doc.texts.Outline(masked), doc.open)
}

// SpreadsAll returns how references call the secrets of which every key, whatever it is called, becomes one of value.
func SpreadsAll(connection *v1alpha1.Connection) []string {
	var names []string
	for i := range connection.Spec.VaultSecrets {
		if spreadsAll(connection.Spec.VaultSecrets[i]) {
			names = append(names, spreadName(connection.Spec.VaultSecrets, i))
		}
	}
	return names
}
