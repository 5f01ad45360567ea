package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// push sends the image of a release to a registry, under its version, and signs it there if there is a key. Credentials
// are Docker's.
func push(from, to string, insecure bool) error {
	archives, err := filepath.Glob(filepath.Join(from, "sallyport-*-image.tar"))
	if err != nil || len(archives) != 1 {
		return fmt.Errorf("there is no image in %s; make release VERSION=v… first", from)
	}
	dir, err := os.MkdirTemp("", "sallyport-release")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := unpack(archives[0], dir); err != nil {
		return err
	}
	index, version, err := imageIn(dir)
	if err != nil {
		return err
	}
	var options []name.Option
	if insecure {
		options = append(options, name.Insecure)
	}
	tag, err := name.NewTag(to+":"+version, options...)
	if err != nil {
		return fmt.Errorf("-to is %q: %w", to, err)
	}
	access := remote.WithAuthFromKeychain(authn.DefaultKeychain)
	if err := remote.WriteIndex(tag, index, access); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Println(tag.Context().Name() + ":" + version + "@" + digest.String())
	key, err := signingKey()
	if err != nil || key == nil {
		return err
	}
	return key.signImage(tag.Context(), digest, access)
}

// signImage writes the signature where cosign looks for it: beside the image, under a tag made of its digest.
func (s *signer) signImage(repository name.Repository, digest v1.Hash, access remote.Option) error {
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]string{"docker-reference": repository.Name()},
			"image":    map[string]string{"docker-manifest-digest": digest.String()},
			"type":     "cosign container image signature",
		},
		"optional": nil,
	})
	if err != nil {
		return err
	}
	signature, err := s.sign(payload)
	if err != nil {
		return err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{
		Layer:       static.NewLayer(payload, "application/vnd.dev.cosign.simplesigning.v1+json"),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": signature},
	})
	if err != nil {
		return err
	}
	return remote.Write(repository.Tag("sha256-"+digest.Hex+".sig"), image, access)
}

// imageIn returns the one image of a layout and its version.
func imageIn(dir string) (v1.ImageIndex, string, error) {
	path, err := layout.FromPath(dir)
	if err != nil {
		return nil, "", err
	}
	outer, err := path.ImageIndex()
	if err != nil {
		return nil, "", err
	}
	manifest, err := outer.IndexManifest()
	if err != nil {
		return nil, "", err
	}
	if len(manifest.Manifests) != 1 {
		return nil, "", fmt.Errorf("the layout has %d images, not one", len(manifest.Manifests))
	}
	image, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	return image, manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"], err
}

// unpack writes the files of an archive that makeImage wrote below dir, and nowhere else.
func unpack(archive, dir string) error {
	source, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	reader := tar.NewReader(source)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := root.MkdirAll(filepath.Dir(header.Name), 0o755); err != nil {
			return err
		}
		target, err := root.Create(header.Name)
		if err != nil {
			return err
		}
		_, err = io.Copy(target, reader)
		if err := errors.Join(err, target.Close()); err != nil {
			return err
		}
	}
}
