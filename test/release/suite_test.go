// Package release tests what `make release` makes: that it is the same bytes wherever it is made, and what is in them.
// Releases are made of copies of the checkout as it stands, so that what is not committed is tested too.
package release

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/test/env"
)

const (
	version    = "0.2.0"
	repository = "registry.example.com/team/sallyport"
)

var (
	first, second string // releases, from two folders
	checkout      string // a copy that may be changed
	key           string // file with the signing key
)

func TestRelease(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Release")
}

var _ = BeforeSuite(func() {
	key = makeKey()
	// Both at once: somebody may be editing the checkout.
	checkout = copyCheckout("a/folder")
	other := copyCheckout("another/folder/with spaces")
	first, second = release(checkout), release(other)
})

// makeKey makes a key as `openssl ecparam -name prime256v1 -genkey` does.
func makeKey() string {
	GinkgoHelper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	der, err := x509.MarshalECPrivateKey(private)
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(GinkgoT().TempDir(), "key.pem")
	Expect(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)).To(Succeed())
	return file
}

// copyCheckout copies what git would commit into a folder, and commits it there, always as the same commit.
func copyCheckout(folder string) string {
	GinkgoHelper()
	root, err := env.Root()
	Expect(err).NotTo(HaveOccurred())
	dir := filepath.Join(GinkgoT().TempDir(), folder)
	Expect(os.MkdirAll(dir, 0o750)).To(Succeed())
	run(root, `git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
		[[ ! -e $file && ! -L $file ]] || printf '%s\0' "$file"; done | tar -cf - --null -T - | tar -xf - -C "$0"`, dir)
	run(dir, `git init --quiet && git config user.name tests && git config user.email tests@example.com &&
		export GIT_AUTHOR_DATE=2026-01-02T03:04:05Z GIT_COMMITTER_DATE=2026-01-02T03:04:05Z &&
		git add --all && git commit --quiet --message release`)
	return dir
}

// run runs a shell's command and returns what it printed.
func run(dir, command string, arguments ...string) string {
	GinkgoHelper()
	output, err := try(dir, command, arguments...)
	Expect(err).NotTo(HaveOccurred(), output)
	return output
}

func try(dir, command string, arguments ...string) (string, error) {
	arguments = append([]string{"-o", "pipefail", "-ec", command}, arguments...)
	shell := exec.Command("bash", arguments...)
	shell.Dir = dir
	output, err := shell.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

// release makes one and returns its folder.
func release(dir string) string {
	GinkgoHelper()
	run(dir, `SALLYPORT_SIGNING_KEY=$0 REPOSITORY=$1 hack/release.sh "v$2"`, key, repository, version)
	return filepath.Join(dir, "dist")
}
