package main

import (
	"bytes"
	"debug/buildinfo"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// makeImage writes an OCI image index for all platforms, as an archive of an OCI layout, and an SBOM for each platform.
func (r *release) makeImage() error {
	index := mutate.IndexMediaType(v1.ImageIndex(empty.Index), types.OCIImageIndex)
	for _, platform := range r.platforms {
		main, info, err := r.compile(platform, sallyport)
		if err != nil {
			return err
		}
		// Its modules are among those of the other.
		second, _, err := r.compile(platform, launcher)
		if err != nil {
			return err
		}
		image, err := r.imageOf(platform, main, second, info)
		if err != nil {
			return err
		}
		system, architecture, _ := strings.Cut(platform, "/")
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: system, Architecture: architecture}},
		})
		if err := r.writeSBOM(strings.ReplaceAll(platform, "/", "-"), main, info); err != nil {
			return err
		}
	}
	index, ok := mutate.Annotations(index, r.labels()).(v1.ImageIndex)
	if !ok {
		panic("an index with annotations is an index")
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	r.image = digest.String()
	return r.writeLayout(index)
}

func (r *release) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title": "Sallyport",
		"org.opencontainers.image.description": "Lets Vault's secrets out to the pods that may use them, " +
			"and leaves no copy behind",
		"org.opencontainers.image.url":      "https://sallyport.dev",
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.version":  r.version,
		"org.opencontainers.image.revision": r.source.commit,
		"org.opencontainers.image.created":  r.source.time.Format("2006-01-02T15:04:05Z"),
	}
}

// imageOf is what the Dockerfile makes: the static programs and licences, and nothing else.
func (r *release) imageOf(platform string, main, second []byte, info *buildinfo.BuildInfo) (v1.Image, error) {
	content, err := r.licences(info)
	if err != nil {
		return nil, err
	}
	licence, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return nil, err
	}
	content["LICENSE"] = file{content: licence}
	content[sallyport.name] = file{content: main, executable: true}
	content[launcher.name] = file{content: second, executable: true}
	archive, err := content.tar(r.source.time)
	if err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	system, architecture, _ := strings.Cut(platform, "/")
	created := v1.Time{Time: r.source.time}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		OS: system, Architecture: architecture, Created: created, RootFS: v1.RootFS{Type: "layers"},
		// The node plugin mounts, so its DaemonSet runs it as root.
		Config: v1.Config{User: "65532:65532", Entrypoint: []string{"/sallyport"}, Labels: r.labels()},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(image, mutate.Addendum{
		Layer: layer, History: v1.History{Created: created, CreatedBy: "make release VERSION=v" + r.version},
	})
}

// writeLayout writes the index into the archive that skopeo, podman and containerd take.
func (r *release) writeLayout(index v1.ImageIndex) error {
	dir, err := os.MkdirTemp("", "sallyport-release")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	name := map[string]string{
		"org.opencontainers.image.ref.name": r.version,
		"io.containerd.image.name":          r.repository + ":" + r.version,
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(name)); err != nil {
		return err
	}
	content, err := readDir(dir, ".")
	if err != nil {
		return err
	}
	renamed := files{}
	for name, file := range content {
		renamed[strings.TrimPrefix(name, "./")] = file
	}
	archive, err := renamed.tar(r.source.time)
	if err != nil {
		return err
	}
	return r.write(r.name("-image.tar"), archive)
}
