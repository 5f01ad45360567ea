//go:build linux

package mounted

import (
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

var _ = Describe("A mounted volume with directories", func() {
	It("shows files in them with their modes, and exchanges all at once", func() {
		namespace := newNamespace()
		path := "secret/data/" + namespace + "/app"
		former, next := newSecret(), newSecret()
		vault.PutKV(path, map[string]any{"password": former})
		c := builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/app"),
			builder.WithShortestRefresh, builder.WithFiles(
				v1alpha1.ConnectionFile{Path: "conf.d/db/password", Value: "vault.secret(password)", Mode: ptr.To[int32](0o440)},
				v1alpha1.ConnectionFile{Path: "conf.d/fixed", Value: "fixed"}, v1alpha1.ConnectionFile{Path: "db.json", Format: v1alpha1.FileFormatJSON},
			))
		create(c)
		expectReady(c, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		_, dir := mount(namespace, "db")
		read := func(path string) string {
			content, err := os.ReadFile(filepath.Join(dir, path))
			Expect(err).NotTo(HaveOccurred())
			return string(content)
		}
		Expect(read("conf.d/db/password")).To(Equal(former))
		info, err := os.Stat(filepath.Join(dir, "conf.d/db/password"))
		Expect(err).NotTo(HaveOccurred())
		Expect(info.Mode().Perm()).To(BeEquivalentTo(0o440))
		info, err = os.Stat(filepath.Join(dir, "conf.d/db"))
		Expect(err).NotTo(HaveOccurred())
		Expect(info.Mode().Perm()).To(BeEquivalentTo(0o755))
		fixed, err := os.Stat(filepath.Join(dir, "conf.d/fixed"))
		Expect(err).NotTo(HaveOccurred())

		vault.PutKV(path, map[string]any{"password": next})
		Eventually(func() string { return read("conf.d/db/password") }).Should(Equal(next))
		Expect(read("db.json")).To(ContainSubstring(next))
		same, err := os.Stat(filepath.Join(dir, "conf.d/fixed"))
		Expect(err).NotTo(HaveOccurred())
		Expect(os.SameFile(fixed, same)).To(BeTrue())
	})
})
