// Package render shows the files of a Connection as a pod would get them: by the mechanism that makes them for pods,
// with what references mean left out, or read with the user's own token.
package render

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/ownvault"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/projection"
	"sallyport.dev/sallyport/internal/resolver"
)

// defaultMode is that of a file which names none, in a pod without an fsGroup.
const defaultMode = 0o644

// File is one file of a volume.
type File struct {
	Path string
	Mode uint32
	// Content as the pod would get it, or with references in the place of what they mean.
	Content []byte
	// Missing says why there is no content here.
	Missing string
}

// Masked returns the files with each reference in the place of what it means, in the form that Mask has. It asks
// nobody. A file that cannot be made so, because it is computed from a value, has no content.
func Masked(ctx context.Context, connection *v1alpha1.Connection) ([]File, error) {
	made, err := resolver.Show(ctx, connection, Mask)
	if err != nil {
		return nil, err
	}
	added := spread(connection)
	files := make([]File, 0, len(made)+len(added))
	for n := range made {
		file := shown(made[n].File)
		file.Missing = made[n].Missing
		if len(added) > 0 && holdsAll(connection, file.Path) {
			file.Content, file.Missing = nil, "it holds every key of the secret "+added[0].Path+", and Vault alone knows them"
		}
		files = append(files, file)
	}
	return append(files, added...), nil
}

// holdsAll tells whether a file is the whole value in a format.
func holdsAll(connection *v1alpha1.Connection, path string) bool {
	return slices.ContainsFunc(connection.Spec.Files, func(f v1alpha1.ConnectionFile) bool {
		return f.Path == path && f.Format != "" && f.Template == ""
	})
}

// spread stands for what every key of a secret adds: only Vault knows these.
func spread(connection *v1alpha1.Connection) []File {
	var files []File
	for _, secret := range resolver.SpreadsAll(connection) {
		files = append(files, File{
			Path: "(" + secret + ")", Mode: defaultMode, Missing: "every key of this secret is added, and Vault alone knows them",
		})
	}
	return files
}

// Mask is what stands in the place of a value.
func Mask(of expression.Reference) string { return "<" + of.String() + ">" }

func shown(file projection.File) File {
	f := File{Path: file.Path, Mode: file.Mode, Content: file.Content}
	if f.Mode == 0 {
		f.Mode = defaultMode
	}
	return f
}

// WithValues returns the files with values that are read with the user's own token. What Vault would make for a pod is
// made for nobody here.
func WithValues(
	ctx context.Context, objects client.Reader, own *ownvault.Vault, connection *v1alpha1.Connection,
) ([]File, error) {
	configs := &ownConfigs{Reader: objects, own: own, urls: map[string]bool{}}
	if err := configs.sameVault(ctx, connection); err != nil {
		return nil, err
	}
	engine := resolver.NewEngine(configs, own.Sessions(), clock.RealClock{})
	checked, err := engine.Check(ctx, connection, "")
	if err != nil {
		return nil, ownvault.Explain(err)
	}
	if len(checked.Dynamic) > 0 {
		return nil, fmt.Errorf("what is at %s is made for each pod, and would be made for you; leave out --show-values",
			strings.Join(checked.Dynamic, ", "))
	}
	resolved, err := engine.Resolve(ctx, connection, resolver.Volume{})
	if err != nil {
		return nil, ownvault.Explain(err)
	}
	files := make([]File, len(resolved.Files))
	for n := range resolved.Files {
		files[n] = shown(resolved.Files[n])
	}
	return files, nil
}

// ownConfigs finds VaultConfigs, and has them lead to the user's Vault.
type ownConfigs struct {
	client.Reader
	own  *ownvault.Vault
	urls map[string]bool
}

// Get implements client.Reader.
func (o *ownConfigs) Get(
	ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption,
) error {
	if err := o.Reader.Get(ctx, key, object, options...); err != nil {
		return err
	}
	if config, is := object.(*v1alpha1.VaultConfig); is {
		o.own.As(config)
	}
	return nil
}

// sameVault refuses a Connection whose secrets are in several Vaults: the user has a token for one.
func (o *ownConfigs) sameVault(ctx context.Context, connection *v1alpha1.Connection) error {
	needs, err := resolver.Needs(connection)
	if err != nil {
		return errors.New(fault.From(err).Message())
	}
	for _, need := range needs {
		config := &v1alpha1.VaultConfig{}
		if err := o.Reader.Get(ctx, need.Config, config); err != nil {
			return err
		}
		o.urls[config.Spec.URL] = true
	}
	if len(o.urls) > 1 {
		return fmt.Errorf("its secrets are in several Vaults (%s), and VAULT_ADDR is but one",
			strings.Join(slices.Sorted(maps.Keys(o.urls)), ", "))
	}
	return nil
}
