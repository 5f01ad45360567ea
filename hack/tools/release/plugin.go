package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// plugin is kubectl's, which is in no image.
var plugin = program{"kubectl-sallyport", "./cmd/kubectl-sallyport", "sallyport.dev/sallyport/internal/cli.version"}

// krewManifest is what kubectl krew installs the plugin by. Source:
// krew.sigs.k8s.io/docs/developer-guide/plugin-manifest.
var krewManifest = template.Must(template.New("krew").Parse(`apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: sallyport
spec:
  version: v{{ .Version }}
  homepage: https://sallyport.dev/sallyport
  shortDescription: See what Sallyport does with Vault's secrets
  description: |
    Says why a pod, Connection, VaultConfig or VaultTask of Sallyport is stuck,
    with the cure; shows who mounts what, and the files of a Connection; writes
    the least policy of Vault, and compares it with a token; migrates from other
    ways from Vault into pods.
  caveats: |
    For completion put an executable kubectl_complete-sallyport into the PATH:
      #!/bin/sh
      exec kubectl sallyport __complete "$@"
  platforms:
{{- range .Archives }}
  - selector:
      matchLabels:
        os: {{ .System }}
        arch: {{ .Architecture }}
    uri: {{ $.Downloads }}/{{ .Name }}
    sha256: {{ .Sum }}
    bin: {{ .Program }}
    files:
    - from: {{ .Program }}
      to: .
    - from: LICENSE
      to: .
{{- end }}
`))

// pluginArchive is the plugin for one platform.
type pluginArchive struct{ Name, System, Architecture, Program, Sum string }

// makePlugin writes an archive of the plugin for each architecture of the image and each system that people sit at, and
// krew's manifest of them.
func (r *release) makePlugin() error {
	var archives []pluginArchive
	for _, system := range r.systems {
		for _, architecture := range r.architectures() {
			archive, err := r.pluginFor(system, architecture)
			if err != nil {
				return err
			}
			archives = append(archives, archive)
		}
	}
	var manifest bytes.Buffer
	err := krewManifest.Execute(&manifest, map[string]any{
		"Version": r.version, "Downloads": strings.TrimRight(r.downloads, "/"), "Archives": archives,
	})
	if err != nil {
		return err
	}
	return r.write("krew-sallyport.yaml", manifest.Bytes())
}

// architectures of the image, each once.
func (r *release) architectures() []string {
	var all []string
	for _, platform := range r.platforms {
		_, architecture, _ := strings.Cut(platform, "/")
		if !slices.Contains(all, architecture) {
			all = append(all, architecture)
		}
	}
	return all
}

func (r *release) pluginFor(system, architecture string) (pluginArchive, error) {
	archive := pluginArchive{System: system, Architecture: architecture, Program: plugin.name}
	if system == "windows" {
		archive.Program += ".exe"
	}
	binary, info, err := r.compile(system+"/"+architecture, plugin)
	if err != nil {
		return archive, err
	}
	content, err := r.licences(info)
	if err != nil {
		return archive, err
	}
	licence, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return archive, err
	}
	content["LICENSE"] = file{content: licence}
	content[archive.Program] = file{content: binary, executable: true}
	zipped, err := content.tarGzip(r.source.time)
	if err != nil {
		return archive, err
	}
	archive.Name = fmt.Sprintf("%s_%s_%s_%s.tar.gz", plugin.name, r.version, system, architecture)
	sum := sha256.Sum256(zipped)
	archive.Sum = hex.EncodeToString(sum[:])
	return archive, r.write(archive.Name, zipped)
}
