package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// migrate has kubectl's plugin turn manifests into Sallyport's, as a user does, applies what it prints, and returns the
// lines of its report that begin with "no equal".
func (t *tenant) migrate(ctx context.Context, manifests string, args ...string) (without []string) {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	theirs, ours := filepath.Join(dir, "theirs.yaml"), filepath.Join(dir, "ours.yaml")
	Expect(os.WriteFile(theirs, []byte(manifests), 0o600)).To(Succeed())
	moved := sallyport(ctx, append([]string{"migrate", "-f", theirs}, args...)...)
	Expect(os.WriteFile(ours, []byte(moved.Out), 0o600)).To(Succeed())
	for line := range strings.Lines(moved.Err) {
		if strings.HasPrefix(line, "no equal") {
			without = append(without, line)
		}
	}
	Expect(moved.Code).To(Equal(min(len(without), 1)), moved.Err)
	kubectl(ctx, "apply", "--server-side", "--filename", ours)
	return without
}

// moved is the pod of a Deployment that was migrated.
func (t *tenant) moved(ctx context.Context, name string) *corev1.Pod {
	GinkgoHelper()
	w := workload{replicas: 1, Object: &appsv1.Deployment{ObjectMeta: t.meta(name)}}
	w.expectSettled(ctx, 1)
	return w.pods(ctx)[0]
}

// contentIn is a file as the pod's program reads it.
func contentIn(pod *corev1.Pod, path string) string {
	GinkgoHelper()
	content, err := os.ReadFile(inPod(pod, path))
	Expect(err).NotTo(HaveOccurred())
	return string(content)
}

func expectMode(pod *corev1.Pod, path string, mode os.FileMode) {
	GinkgoHelper()
	info, err := os.Stat(inPod(pod, path))
	Expect(err).NotTo(HaveOccurred())
	Expect(info.Mode().Perm()).To(Equal(mode), path)
}

// expectCertificates compares the names of the certificates in a text, which begins with that of a key.
func expectCertificates(certificates, key string, names ...string) {
	GinkgoHelper()
	canaries.forbid("the private key of a certificate", key)
	_, err := tls.X509KeyPair([]byte(certificates), []byte(key))
	Expect(err).NotTo(HaveOccurred())
	var found []string
	for block, rest := pem.Decode([]byte(certificates)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		Expect(err).NotTo(HaveOccurred())
		found = append(found, certificate.Subject.CommonName)
	}
	Expect(found).To(Equal(names))
}

// newAuthorities mounts two engines that issue certificates for example.com: a root, and below it an intermediate that
// knows its root.
func newAuthorities(ctx context.Context, root, intermediate string) {
	GinkgoHelper()
	write := func(path string, data map[string]any) map[string]any {
		GinkgoHelper()
		written, err := vault.Logical().WriteWithContext(ctx, path, data)
		Expect(err).NotTo(HaveOccurred())
		return written.Data
	}
	for _, engine := range []string{root, intermediate} {
		Expect(vault.Sys().MountWithContext(ctx, engine, &vaultapi.MountInput{Type: "pki"})).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(vault.Sys().UnmountWithContext(ctx, engine)).To(Succeed()) })
	}
	write(root+"/root/generate/internal", map[string]any{"common_name": "root", "key_type": "ec", "ttl": "24h"})
	request := write(intermediate+"/intermediate/generate/internal", map[string]any{"common_name": "intermediate", "key_type": "ec"})
	signed := write(root+"/root/sign-intermediate", map[string]any{
		"csr": request["csr"], "common_name": "intermediate", "format": "pem_bundle", "ttl": "12h",
	})
	write(intermediate+"/intermediate/set-signed", map[string]any{"certificate": signed["certificate"]})
	for _, engine := range []string{root, intermediate} {
		write(engine+"/roles/shop", map[string]any{
			"allowed_domains": "example.com", "allow_subdomains": true, "key_type": "ec", "key_bits": 256, "max_ttl": "2h",
		})
	}
}

var _ = Describe("Workloads that kubectl sallyport migrate moved", Ordered, func() {
	var (
		t        *tenant
		d        *database
		fill     *strings.Replacer
		password string
		keystore []byte
	)

	BeforeAll(func(ctx SpecContext) {
		t = newReadyTenant(ctx)
		d = newDatabase(ctx, t)
		root, intermediate := "root-"+t.namespace, "pki-"+t.namespace
		newAuthorities(ctx, root, intermediate)
		Expect(vault.Sys().PutPolicyWithContext(ctx, t.namespace, fmt.Sprintf(`
			path "secret/data/%[1]s/*" { capabilities = ["read"] }
			path "secret/metadata/%[1]s/*" { capabilities = ["read"] }
			path "%[2]s/creds/*" { capabilities = ["read"] }
			path "%[3]s/issue/shop" { capabilities = ["update"] }
			path "%[4]s/issue/shop" { capabilities = ["update"] }
			path "sys/leases/revoke" { capabilities = ["update"] }`, t.namespace, d.engine, root, intermediate))).To(Succeed())

		password = newSecret("password of the peers")
		keystore = []byte(newSecret("key store") + "\x00\xff")
		t.put(ctx, "db", map[string]any{"user.name": "scott", "username": "tiger", "password": password})
		t.put(ctx, "keystore", map[string]any{"p12": base64.StdEncoding.EncodeToString(keystore), "meta": map[string]any{"alias": "shop"}})
		create(ctx,
			&corev1.ServiceAccount{ObjectMeta: t.meta("web")},
			&corev1.ConfigMap{ObjectMeta: t.meta("vault-ca"), Data: map[string]string{"ca.crt": vaultCA}},
			builder.Secret(t.namespace, "vault-cacert", map[string]string{"ca.crt": vaultCA}),
		)
		fill = strings.NewReplacer("${NAMESPACE}", t.namespace, "${VAULT}", vault.Address(), "${AUTH}", t.acceptAccount(ctx, "web"),
			"${DATABASE}", d.engine, "${PKI}", intermediate, "${ROOT}", root,
			"${RUN}", "image: "+demoImage+"\n        imagePullPolicy: Never\n        command: [sleep, '3600']")
	}, NodeTimeout(2*eventual))

	AfterAll(func(ctx SpecContext) {
		Expect(api.DeleteAllOf(ctx, &appsv1.Deployment{}, client.InNamespace(t.namespace))).To(Succeed())
		Eventually(ctx, d.made).WithTimeout(eventual).Should(BeEmpty(), "users of pods that are gone")
	}, NodeTimeout(eventual))

	It("from the Secrets Store CSI Driver read what Vault holds", func(ctx SpecContext) {
		Expect(t.migrate(ctx, fill.Replace(ofProviderClass), "--vault-ca", "vault-ca/ca.crt")).
			To(ConsistOf(ContainSubstring("spec.secretObjects[0]: Sallyport makes no Secret")))
		pod := t.moved(ctx, "webshop")
		Expect(contentIn(pod, "/mnt/secrets-store/db-password")).To(Equal(password))
		Expect(contentIn(pod, "/mnt/secrets-store/db-user")).To(Equal("scott"))
		expectMode(pod, "/mnt/secrets-store/db-user", 0o400)
		Expect(contentIn(pod, "/mnt/secrets-store/keystore.p12")).To(Equal(string(keystore)))
		Expect(d.login(pod.Name, inPod(pod, "/mnt/secrets-store"))).To(Succeed())
		Expect(contentIn(pod, "/etc/webshop/pass")).To(Equal(password))
	}, SpecTimeout(atLast))

	It("from the Vault Secrets Operator read what Vault holds", func(ctx SpecContext) {
		Expect(t.migrate(ctx, fill.Replace(ofVaultSecrets), "--keys", "orders=username,password")).To(BeEmpty())
		pod := t.moved(ctx, "shop")
		for name, value := range map[string]string{"password": password, "user.name": "scott", "username": "tiger"} {
			Expect(contentIn(pod, "/etc/db/"+name)).To(Equal(value))
		}
		Expect(contentIn(pod, "/app/application.properties")).To(Equal(
			"datasource.username=scott\ndatasource.password=" + base64.StdEncoding.EncodeToString([]byte(password)) + "\n"))
		Expect(d.login(pod.Name, inPod(pod, "/etc/orders"))).To(Succeed())
		expectCertificates(contentIn(pod, "/etc/tls/tls.crt"), contentIn(pod, "/etc/tls/tls.key"), "shop.example.com", "intermediate")
		Expect(contentIn(pod, "/etc/tls/private_key")).To(Equal(contentIn(pod, "/etc/tls/tls.key")))
		expectCertificates(contentIn(pod, "/etc/plain-tls/tls.crt"), contentIn(pod, "/etc/plain-tls/tls.key"), "shop.example.com", "root")

		deployment := &appsv1.Deployment{}
		Expect(api.Get(ctx, t.key("shop"), deployment)).To(Succeed())
		Expect(deployment.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationRestartOnChange, "true"))
	}, SpecTimeout(atLast))

	It("from the External Secrets Operator read what Vault holds", func(ctx SpecContext) {
		Expect(t.migrate(ctx, fill.Replace(ofExternalSecrets))).To(BeEmpty())
		pod := t.moved(ctx, "books")
		Expect(contentIn(pod, "/etc/books/user")).To(Equal("tiger"))
		Expect(contentIn(pod, "/etc/books/pass")).To(Equal(password))
		var config struct{ User, Password string }
		Expect(json.Unmarshal([]byte(contentIn(pod, "/etc/books/config.json")), &config)).To(Succeed())
		Expect(config.User).To(Equal("tiger"))
		Expect(config.Password).To(Equal(password))
		Expect(contentIn(pod, "/etc/keystore/keystore.p12")).To(Equal(string(keystore)))
		Expect(contentIn(pod, "/etc/keystore/alias")).To(Equal("shop"))
		for name, value := range map[string]string{"password": password, "user.name": "scott", "username": "tiger"} {
			Expect(contentIn(pod, "/etc/all/"+name)).To(Equal(value))
		}
		Expect(contentIn(pod, "/etc/login/db/pass")).To(Equal(password))
		expectMode(pod, "/etc/login/db/pass", 0o440) // the pod has an fsGroup
	}, SpecTimeout(atLast))

	It("from Vault's agent injector read what Vault holds", func(ctx SpecContext) {
		Expect(t.migrate(ctx, fill.Replace(ofInjector))).To(BeEmpty())
		pod := t.moved(ctx, "orders")
		Expect(contentIn(pod, "/vault/secrets/db.env")).To(Equal(
			"export DB_USER=scott\nexport DB_PASSWORD=" + base64.StdEncoding.EncodeToString([]byte(password)) + "\n"))
		Expect(contentIn(pod, "/vault/secrets/url")).To(Equal("postgres://tiger:" + password + "@db/orders"))
		expectMode(pod, "/vault/secrets/url", 0o400)
		bundle := contentIn(pod, "/etc/tls/tls.pem")
		_, key, _ := strings.Cut(bundle, "-----BEGIN EC PRIVATE KEY")
		expectCertificates(bundle, "-----BEGIN EC PRIVATE KEY"+key, "orders.example.com")
		Expect(pod.Annotations).To(Equal(map[string]string{"prometheus.io/scrape": "true"}))
	}, SpecTimeout(atLast))
})
