// Release makes everything that a user of Sallyport installs, from a checkout, without a Docker engine and without a
// network but the Go modules that the product needs anyway. The same commit gives the same bytes, in any folder:
// nothing takes the time of day, the order of a map or a path from the machine.
//
//	release build -version v0.2.0 -output dist     image, manifests, chart, SBOMs, checksums, …
//	release push -from dist -to registry/name      the image, with its signature, to a registry
//
// With SALLYPORT_SIGNING_KEY (a private key in PEM, or the file that holds it; cosign's own format with
// COSIGN_PASSWORD) checksums and image are signed as cosign does.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release: "+err.Error())
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("usage: release build|push [flags]")
	}
	set := flag.NewFlagSet(arguments[0], flag.ContinueOnError)
	switch arguments[0] {
	case "build":
		r := &release{}
		var platforms, systems string
		set.StringVar(&r.root, "root", ".", "the checkout")
		set.StringVar(&r.output, "output", "dist", "the directory to write to; what is in it is deleted")
		set.StringVar(&r.version, "version", "", "v0.2.0")
		set.StringVar(&r.repository, "repository", "sallyport.dev/sallyport", "where the image will be pulled from")
		set.StringVar(&platforms, "platforms", "linux/amd64,linux/arm64", "of the image")
		set.StringVar(&systems, "systems", "linux,darwin,windows", "of kubectl's plugin, for the architectures of the image")
		set.StringVar(&r.downloads, "downloads", "", "where kubectl krew will find the archives; default https://sallyport.dev/releases/VERSION")
		if err := set.Parse(arguments[1:]); err != nil {
			return err
		}
		r.platforms, r.systems = strings.Split(platforms, ","), strings.Split(systems, ",")
		return r.build()
	case "push":
		from := set.String("from", "dist", "what build wrote")
		to := set.String("to", "", "registry and name, without a tag")
		insecure := set.Bool("plain-http", false, "the registry has no certificate")
		if err := set.Parse(arguments[1:]); err != nil {
			return err
		}
		return push(*from, *to, *insecure)
	}
	return fmt.Errorf("unknown command %s; there are build and push", arguments[0])
}

// release is one version in the making.
type release struct {
	root, output        string
	version, repository string
	platforms, systems  []string
	downloads           string

	source  source
	image   string // digest of the index
	written []string
}

var semantic = regexp.MustCompile(`^v?([0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?)$`)

func (r *release) build() error {
	match := semantic.FindStringSubmatch(r.version)
	if match == nil {
		return fmt.Errorf("-version is %q; it has the form v0.2.0", r.version)
	}
	r.version = match[1]
	if r.downloads == "" {
		r.downloads = "https://sallyport.dev/releases/v" + r.version
	}
	key, err := signingKey()
	if err != nil {
		return err
	}
	if r.source, err = readSource(r.root); err != nil {
		return err
	}
	if err := os.RemoveAll(r.output); err != nil {
		return err
	}
	if err := os.MkdirAll(r.output, 0o755); err != nil {
		return err
	}
	steps := []struct {
		name string
		make func() error
	}{
		{"image and SBOMs", r.makeImage},
		{"manifests", r.makeManifests},
		{"chart", r.makeChart},
		{"kubectl's plugin", r.makePlugin},
		{"notes", r.makeNotes},
		{"provenance", r.makeProvenance},
		{"checksums", r.makeChecksums},
	}
	for _, step := range steps {
		fmt.Fprintln(os.Stderr, step.name+" …")
		if err := step.make(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	if key == nil {
		fmt.Fprintln(os.Stderr, "not signed: SALLYPORT_SIGNING_KEY is not set")
		return nil
	}
	return key.signFile(filepath.Join(r.output, checksums), r.output)
}

// write writes a file of the release.
func (r *release) write(name string, content []byte) error {
	path := filepath.Join(r.output, name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return err
	}
	r.written = append(r.written, name)
	return nil
}

// name is that of a file of the release.
func (r *release) name(suffix string) string { return "sallyport-" + r.version + suffix }
