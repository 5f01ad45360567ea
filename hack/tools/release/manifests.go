package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// placeholder is the image that config/ names.
const placeholder = "sallyport.dev/sallyport:0.1.0"

// reference names the image by version, for people, and by digest, for the kubelet.
func (r *release) reference() string { return r.repository + ":" + r.version + "@" + r.image }

// makeManifests writes config/ with the release's image in it, to be used with kustomize, and what kustomize makes of
// each of its installations, to be applied as it is.
func (r *release) makeManifests() error {
	config, err := readDir(filepath.Join(r.root, "config"), "config")
	if err != nil {
		return err
	}
	config.without("config/chart/")
	for _, name := range []string{"config/controller/deployment.yaml", "config/node/daemonset.yaml"} {
		content := config[name].content
		if bytes.Count(content, []byte(placeholder)) != 1 {
			return fmt.Errorf("%s names the image %s not once", name, placeholder)
		}
		config[name] = file{content: bytes.Replace(content, []byte(placeholder), []byte(r.reference()), 1)}
	}
	archive, err := config.tarGzip(r.source.time)
	if err != nil {
		return err
	}
	if err := r.write(r.name("-config.tar.gz"), archive); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sallyport-release")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := config.writeTo(dir); err != nil {
		return err
	}
	for file, overlay := range map[string]string{
		"crds.yaml": "crd", "install.yaml": "default", "install-before-1.35.yaml": "before-1.35",
		"install-namespaced.yaml": "namespaced", "install-without-secrets.yaml": "without-secrets",
	} {
		kustomizer := krusty.MakeKustomizer(krusty.MakeDefaultOptions())
		made, err := kustomizer.Run(filesys.MakeFsOnDisk(), filepath.Join(dir, "config", overlay))
		if err != nil {
			return err
		}
		content, err := made.AsYaml()
		if err != nil {
			return err
		}
		if strings.HasPrefix(file, "install") && bytes.Count(content, []byte("image: "+r.reference()+"\n")) != 2 {
			return fmt.Errorf("%s names the image %s not twice", file, r.reference())
		}
		if err := r.write(file, content); err != nil {
			return err
		}
	}
	return nil
}
