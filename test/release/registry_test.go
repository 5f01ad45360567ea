package release

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// startRegistry starts a real registry on this machine and returns its address.
func startRegistry() string {
	GinkgoHelper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	address := listener.Addr().String()
	Expect(listener.Close()).To(Succeed())
	dir := GinkgoT().TempDir()
	file := filepath.Join(dir, "registry.yaml")
	settings := fmt.Sprintf("version: 0.1\nlog: {level: error}\nhttp: {addr: %q}\nstorage: {filesystem: {rootdirectory: %q}}",
		address, dir)
	Expect(os.WriteFile(file, []byte(settings), 0o600)).To(Succeed())
	registry := exec.Command(os.Getenv("REGISTRY_BINARY"), "serve", file)
	registry.Stdout, registry.Stderr = GinkgoWriter, GinkgoWriter
	Expect(registry.Start()).To(Succeed())
	DeferCleanup(func() {
		Expect(registry.Process.Kill()).To(Succeed())
		_ = registry.Wait()
	})
	Eventually(func() (int, error) {
		status, _, err := get("http://" + address + "/v2/")
		return status, err
	}, 20*time.Second, 50*time.Millisecond).Should(Equal(http.StatusOK))
	return address
}

func get(url string) (int, string, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	content, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	return response.StatusCode, string(content), err
}

var _ = Describe("a registry", func() {
	It("takes the image, with its signature, and the chart, which Helm finds there", func() {
		address := startRegistry()
		pushed := run(checkout, `SALLYPORT_SIGNING_KEY=$0 OUTPUT=$1 hack/release.sh --push "$2/sallyport" --plain-http`,
			key, first, address)
		digest := open(read(first, "sallyport-0.2.0-image.tar")).manifest("").Manifests[0].Digest
		Expect(pushed).To(ContainSubstring(address + "/sallyport:0.2.0@" + digest))

		status, index, err := get("http://" + address + "/v2/sallyport/manifests/0.2.0")
		Expect(err).NotTo(HaveOccurred())
		Expect(status).To(Equal(http.StatusOK))
		Expect("sha256:" + sum([]byte(index))).To(Equal(digest))
		expectSigned("http://"+address+"/v2/sallyport/", digest)

		rendered := run(first, `"$HELM_BINARY" template sallyport "oci://$0/charts/sallyport" --plain-http --version 0.2.0`,
			address)
		Expect(strings.Count(rendered, "image: "+repository+"@"+digest)).To(Equal(2))
	})
})

// expectSigned looks for the signature where cosign does, and verifies it with openssl.
func expectSigned(base, digest string) {
	GinkgoHelper()
	status, content, err := get(base + "manifests/" + strings.Replace(digest, ":", "-", 1) + ".sig")
	Expect(err).NotTo(HaveOccurred())
	Expect(status).To(Equal(http.StatusOK))
	var signed struct {
		Layers []struct {
			Digest      string            `json:"digest"`
			Annotations map[string]string `json:"annotations"`
		} `json:"layers"`
	}
	Expect(json.Unmarshal([]byte(content), &signed)).To(Succeed())
	_, payload, err := get(base + "blobs/" + signed.Layers[0].Digest)
	Expect(err).NotTo(HaveOccurred())
	Expect(payload).To(ContainSubstring(`"docker-manifest-digest":"` + digest + `"`))
	signature, err := base64.StdEncoding.DecodeString(signed.Layers[0].Annotations["dev.cosignproject.cosign/signature"])
	Expect(err).NotTo(HaveOccurred())
	dir := GinkgoT().TempDir()
	Expect(os.WriteFile(filepath.Join(dir, "payload"), []byte(payload), 0o600)).To(Succeed())
	Expect(os.WriteFile(filepath.Join(dir, "signature"), signature, 0o600)).To(Succeed())
	verified := run(dir, `openssl dgst -sha256 -verify "$0/cosign.pub" -signature signature payload`, first)
	Expect(verified).To(ContainSubstring("Verified OK"))
}
