package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"debug/buildinfo"
	"debug/elf"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"
)

var _ = Describe("a release", func() {
	platforms := strings.Split(os.Getenv("PLATFORMS"), ",")

	It("is the same bytes wherever it is made", func() {
		files := names(first)
		Expect(files).To(ContainElements("install.yaml", "crds.yaml", "SHA256SUMS", "SHA256SUMS.sig",
			"sallyport-0.2.0-image.tar", "sallyport-0.2.0.tgz", "sallyport-0.2.0-config.tar.gz", "sallyport-0.2.0.intoto.json",
			"release-notes.md",
			"install-before-1.35.yaml", "install-namespaced.yaml", "install-without-secrets.yaml"))
		Expect(names(second)).To(Equal(files))
		for _, file := range files {
			Expect(sum(read(first, file))).To(Equal(sum(read(second, file))), file)
		}
	})

	It("has an image of two static programs for each platform", func() {
		image := open(read(first, "sallyport-0.2.0-image.tar"))
		index := image.manifest(image.manifest("").Manifests[0].Digest)
		Expect(index.Manifests).To(HaveLen(len(platforms)))
		for i, entry := range index.Manifests {
			Expect(entry.Platform.OS + "/" + entry.Platform.Architecture).To(Equal(platforms[i]))
			image := image.of(entry.Digest)
			Expect(image.config.Config.User).To(Equal("65532:65532"))
			Expect(image.config.Config.Entrypoint).To(Equal([]string{"/sallyport"}))
			Expect(image.config.Config.Labels).To(And(
				HaveKeyWithValue("org.opencontainers.image.version", version),
				HaveKeyWithValue("org.opencontainers.image.revision", run(checkout, "git rev-parse HEAD"))))
			for name := range image.files {
				Expect(name).To(Or(Equal("sallyport"), Equal("sallyport-exec"), Equal("LICENSE"), HavePrefix("licences/")), "nothing else")
			}
			for _, name := range []string{"sallyport", "sallyport-exec"} {
				program, err := elf.NewFile(bytes.NewReader(image.files[name]))
				Expect(err).NotTo(HaveOccurred())
				Expect(program.Section(".interp")).To(BeNil(), "it needs no library")
			}
			expectMaterials(platforms[i], image)
		}
	})

	It("names its image by digest, in manifests, overlays and chart", func() {
		image := open(read(first, "sallyport-0.2.0-image.tar")).manifest("").Manifests[0].Digest
		for _, file := range names(first) {
			if strings.HasPrefix(file, "install") {
				manifests := string(read(first, file))
				Expect(strings.Count(manifests, "image: "+repository+":"+version+"@"+image+"\n")).To(Equal(2), file)
				Expect(strings.Count(manifests, "image: ")).To(Equal(2), file)
			}
		}
		Expect(string(read(first, "release-notes.md"))).To(And(
			ContainSubstring(repository+":"+version+"@"+image), ContainSubstring("\n- ")))
		dir := GinkgoT().TempDir()
		rendered := run(first, `"$HELM_BINARY" template sallyport sallyport-0.2.0.tgz -n sallyport-system >"$0/chart.yaml"
			"$HELM_BINARY" show chart sallyport-0.2.0.tgz; grep image: "$0/chart.yaml"`, dir)
		Expect(rendered).To(And(ContainSubstring("\nversion: 0.2.0"), ContainSubstring("appVersion: 0.2.0")))
		Expect(strings.Count(rendered, "image: "+repository+"@"+image)).To(Equal(2))
	})

	It("has kubectl's plugin for each system, and the manifest by which krew installs it", func() {
		var manifest struct {
			APIVersion, Kind string
			Metadata         struct{ Name string }
			Spec             struct {
				Version, Homepage, ShortDescription, Description, Caveats string
				Platforms                                                 []struct {
					URI, SHA256, Bin string
					Selector         struct{ MatchLabels struct{ OS, Arch string } }
					Files            []struct{ From, To string }
				}
			}
		}
		Expect(yaml.UnmarshalStrict(read(first, "krew-sallyport.yaml"), &manifest)).To(Succeed(), "krew knows no other fields")
		Expect(manifest.APIVersion).To(Equal("krew.googlecontainertools.github.com/v1alpha2"))
		Expect(manifest.Spec.Homepage).To(HavePrefix("https://"))
		Expect(manifest.Spec.Description).NotTo(BeEmpty())
		Expect(manifest.Spec.Caveats).To(ContainSubstring(`exec kubectl sallyport __complete "$@"`))
		Expect(manifest.Kind + " " + manifest.Metadata.Name + " " + manifest.Spec.Version).To(Equal("Plugin sallyport v0.2.0"))
		Expect(len(manifest.Spec.ShortDescription)).To(BeNumerically("<=", 50), "krew's index takes no more")
		systems := strings.Split(os.Getenv("SYSTEMS"), ",")
		Expect(manifest.Spec.Platforms).To(HaveLen(len(systems) * len(platforms)))
		for _, platform := range manifest.Spec.Platforms {
			of := platform.Selector.MatchLabels
			Expect(systems).To(ContainElement(of.OS))
			name := "kubectl-sallyport_0.2.0_" + of.OS + "_" + of.Arch + ".tar.gz"
			Expect(platform.URI).To(Equal("https://sallyport.dev/releases/v0.2.0/" + name))
			Expect(platform.SHA256).To(Equal(sum(read(first, name))))
			dir := GinkgoT().TempDir()
			listed := run(first, `tar -xzf "$0" -C "$1" && ls "$1"`, name, dir)
			Expect(platform.Files).To(ContainElement(HaveField("From", platform.Bin)), "what krew links is among what it copies")
			for _, file := range platform.Files {
				Expect(strings.Fields(listed)).To(ContainElement(file.From))
			}
			Expect(platform.Bin).To(HavePrefix("kubectl-sallyport"))
			if of.OS == runtime.GOOS && of.Arch == runtime.GOARCH {
				Expect(run(dir, "./kubectl-sallyport --version")).To(Equal("kubectl sallyport version 0.2.0"))
				Expect(run(dir, "./kubectl-sallyport completion bash")).To(ContainSubstring("__complete"))
				Expect(run(dir, "./kubectl-sallyport __complete why vaultt")).To(ContainSubstring("\nvaulttask/\n"), "a shell picks by what is typed")
			}
			info, err := buildinfo.Read(bytes.NewReader(read(dir, platform.Bin)))
			Expect(err).NotTo(HaveOccurred())
			for _, module := range info.Deps {
				_, err := os.Stat(filepath.Join(dir, "licences", module.Path))
				Expect(err).NotTo(HaveOccurred(), "the licence of "+module.Path)
			}
		}
	})

	It("can be verified", func() {
		Expect(run(first, "sha256sum --strict --check SHA256SUMS")).NotTo(ContainSubstring("FAILED"))
		listed := string(read(first, "SHA256SUMS"))
		for _, file := range names(first) {
			if file != "SHA256SUMS" && file != "SHA256SUMS.sig" && file != "cosign.pub" {
				Expect(listed).To(ContainSubstring("  "+file+"\n"), "every file has its checksum")
			}
		}
		block, _ := pem.Decode(read(first, "cosign.pub"))
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		Expect(err).NotTo(HaveOccurred())
		public, ok := parsed.(*ecdsa.PublicKey)
		Expect(ok).To(BeTrue())
		signature, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(read(first, "SHA256SUMS.sig"))))
		Expect(err).NotTo(HaveOccurred())
		digest := sha256.Sum256([]byte(listed))
		Expect(ecdsa.VerifyASN1(public, digest[:], signature)).To(BeTrue())
	})

	It("says what it was made from", func() {
		var statement struct {
			Subject []struct {
				Name   string            `json:"name"`
				Digest map[string]string `json:"digest"`
			} `json:"subject"`
		}
		content := read(first, "sallyport-0.2.0.intoto.json")
		Expect(json.Unmarshal(content, &statement)).To(Succeed())
		Expect(string(content)).To(ContainSubstring(run(checkout, "git rev-parse HEAD")))
		image := open(read(first, "sallyport-0.2.0-image.tar")).manifest("").Manifests[0].Digest
		Expect("sha256:" + statement.Subject[0].Digest["sha256"]).To(Equal(image))
		Expect(len(statement.Subject)).To(BeNumerically(">", 9))
		for _, subject := range statement.Subject[1:] {
			Expect(subject.Digest["sha256"]).To(Equal(sum(read(first, subject.Name))), subject.Name)
		}
	})

	It("is refused for a version that is none, and from sources that are not committed", func() {
		output, err := try(checkout, "OUTPUT=$0 hack/release.sh latest", filepath.Join(GinkgoT().TempDir(), "dist"))
		Expect(err).To(HaveOccurred())
		Expect(output).To(ContainSubstring(`-version is "latest"; it has the form v0.2.0`))
		Expect(os.WriteFile(filepath.Join(checkout, "main.go"), []byte("package main\n"), 0o600)).To(Succeed())
		output, err = try(checkout, "OUTPUT=$0 hack/release.sh v0.2.0", filepath.Join(GinkgoT().TempDir(), "dist"))
		Expect(err).To(HaveOccurred())
		Expect(output).To(And(ContainSubstring("changes that are not committed"), ContainSubstring("M main.go")))
	})
})

// expectMaterials compares SBOM and licences of an image with what Go recorded in its program.
func expectMaterials(platform string, image image) {
	GinkgoHelper()
	info, err := buildinfo.Read(bytes.NewReader(image.files["sallyport"]))
	Expect(err).NotTo(HaveOccurred())
	Expect(len(info.Deps)).To(BeNumerically(">", 20))
	var bom struct {
		Components []struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"components"`
	}
	document := read(first, "sallyport-0.2.0-"+strings.ReplaceAll(platform, "/", "-")+".cdx.json")
	Expect(json.Unmarshal(document, &bom)).To(Succeed())
	listed := map[string]string{}
	for _, component := range bom.Components {
		listed[component.Name] = component.Version
	}
	Expect(listed).To(HaveLen(len(info.Deps) + 1))
	second, err := buildinfo.Read(bytes.NewReader(image.files["sallyport-exec"]))
	Expect(err).NotTo(HaveOccurred())
	for _, module := range second.Deps {
		Expect(listed).To(HaveKeyWithValue(module.Path, module.Version), "of sallyport-exec")
	}
	Expect(listed).To(HaveKeyWithValue("std", info.GoVersion))
	for _, module := range info.Deps {
		Expect(listed).To(HaveKeyWithValue(module.Path, module.Version))
		found := false
		for name := range image.files {
			found = found || strings.HasPrefix(name, "licences/"+module.Path+"/")
		}
		Expect(found).To(BeTrue(), "the licence of "+module.Path)
	}
}

func names(dir string) []string {
	GinkgoHelper()
	entries, err := os.ReadDir(dir)
	Expect(err).NotTo(HaveOccurred())
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

func read(dir, name string) []byte {
	GinkgoHelper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	Expect(err).NotTo(HaveOccurred())
	return content
}

func sum(content []byte) string {
	digest := sha256.Sum256(content)
	return hex.EncodeToString(digest[:])
}

// layout is the content of an OCI layout by path.
type layout map[string][]byte

func open(archive []byte) layout {
	GinkgoHelper()
	content := layout{}
	reader := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return content
		}
		Expect(err).NotTo(HaveOccurred())
		content[header.Name], err = io.ReadAll(reader)
		Expect(err).NotTo(HaveOccurred())
	}
}

type descriptor struct {
	Digest   string `json:"digest"`
	Platform struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	} `json:"platform"`
}

type manifest struct {
	Manifests []descriptor `json:"manifests"`
	Config    descriptor   `json:"config"`
	Layers    []descriptor `json:"layers"`
}

// blob returns what a digest names, and checks that it does.
func (l layout) blob(digest string) []byte {
	GinkgoHelper()
	content := l["blobs/"+strings.Replace(digest, ":", "/", 1)]
	Expect("sha256:" + sum(content)).To(Equal(digest))
	return content
}

// manifest returns that with a digest, and the layout's own without one.
func (l layout) manifest(digest string) manifest {
	GinkgoHelper()
	content := l["index.json"]
	if digest != "" {
		content = l.blob(digest)
	}
	var m manifest
	Expect(json.Unmarshal(content, &m)).To(Succeed())
	return m
}

// image is that of one platform.
type image struct {
	config struct {
		Config struct {
			User       string
			Entrypoint []string
			Labels     map[string]string
		} `json:"config"`
	}
	files layout
}

func (l layout) of(digest string) image {
	GinkgoHelper()
	m := l.manifest(digest)
	Expect(m.Layers).To(HaveLen(1))
	unzipped, err := gzip.NewReader(bytes.NewReader(l.blob(m.Layers[0].Digest)))
	Expect(err).NotTo(HaveOccurred())
	archive, err := io.ReadAll(unzipped)
	Expect(err).NotTo(HaveOccurred())
	result := image{files: open(archive)}
	Expect(json.Unmarshal(l.blob(m.Config.Digest), &result.config)).To(Succeed())
	return result
}
