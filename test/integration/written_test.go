package integration

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// written has the attached secret of a Connection asked for by a write.
func written(engine, path, parameters string) func(*v1alpha1.Connection) {
	return func(c *v1alpha1.Connection) {
		s := &c.Spec.VaultSecrets[0]
		s.EnginePath, s.SecretPath, s.Method = engine, path, v1alpha1.SecretMethodPost
		if parameters != "" {
			s.Parameters = &apiextensionsv1.JSON{Raw: []byte(parameters)}
		}
	}
}

// authorizedKey is a new SSH public key.
func authorizedKey() string {
	GinkgoHelper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	key, err := ssh.NewPublicKey(public)
	Expect(err).NotTo(HaveOccurred())
	return string(ssh.MarshalAuthorizedKey(key))
}

// notBefore is by how much the certificates of these specs are valid before they were issued.
const notBefore = time.Second

// validity is the time for which a certificate is valid, one of SSH or of X.509 in PEM.
func validity(certificate string) (begin, end time.Time) {
	GinkgoHelper()
	if block, _ := pem.Decode([]byte(certificate)); block != nil {
		parsed, err := x509.ParseCertificate(block.Bytes)
		Expect(err).NotTo(HaveOccurred())
		return parsed.NotBefore, parsed.NotAfter
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(certificate))
	Expect(err).NotTo(HaveOccurred())
	parsed, is := key.(*ssh.Certificate)
	Expect(is).To(BeTrue())
	return time.Unix(int64(parsed.ValidAfter), 0), time.Unix(int64(parsed.ValidBefore), 0)
}

// certificateRequest is one in PEM, with a new key.
func certificateRequest() string {
	GinkgoHelper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	template := &x509.CertificateRequest{DNSNames: []string{"a.example.com"}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	Expect(err).NotTo(HaveOccurred())
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

var _ = Describe("A Connection with a secret that Vault answers a write with", Ordered, func() {
	var (
		pki, transit, namespace string
		caller                  *caller
	)

	BeforeAll(func() {
		pki, transit = "pki-written", "transit-written"
		vault.Mount(pki, "pki")
		DeferCleanup(func() { vault.Unmount(pki) })
		vault.Write(pki+"/root/generate/internal", map[string]any{"common_name": "written", "ttl": "24h"})
		vault.Write(pki+"/roles/shop", map[string]any{"allowed_domains": "example.com", "allow_subdomains": true, "max_ttl": "1h"})
		vault.Write(pki+"/roles/brief", map[string]any{"allowed_domains": "example.com", "allow_subdomains": true, "not_before_duration": notBefore.String()})
		vault.Mount(transit, "transit")
		DeferCleanup(func() { vault.Unmount(transit) })
		vault.Create(transit + "/keys/shop")
		vault.Mount("ssh-written", "ssh")
		DeferCleanup(func() { vault.Unmount("ssh-written") })
		vault.Write(pki+"/roles/signed", map[string]any{
			"allow_any_name": true, "key_type": "any", "not_before_duration": notBefore.String(),
		})
		vault.Mount("ssh-ca", "ssh")
		DeferCleanup(func() { vault.Unmount("ssh-ca") })
		vault.Write("ssh-ca/config/ca", map[string]any{"generate_signing_key": true})
		vault.Write("ssh-ca/roles/user", map[string]any{
			"key_type": "ca", "allow_user_certificates": true, "allowed_users": "*", "default_user": "app",
			"not_before_duration": notBefore.String(),
		})
		vault.Policy("written", fmt.Sprintf(`path "%[1]s/issue/*" { capabilities = ["update"] }
			path "%[1]s/sign/*" { capabilities = ["update"] }
			path "ssh-ca/*" { capabilities = ["update"] }
			path "%[2]s/datakey/*" { capabilities = ["update"] }
			path "ssh-written/roles/*" { capabilities = ["create", "update"] }
			path "kv/*" { capabilities = ["create", "read", "update"] }`, pki, transit))
	})

	BeforeEach(func() {
		namespace = newNamespace()
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"written"}})
		create(vault.Config(namespace, "main"))
		caller = newCaller(replica)
	})

	certificate := map[string]any{"tls.crt": "vault.secret(certificate)", "tls.key": "vault.secret(private_key)", "serial": "vault.secret(serial_number)"}
	mounted := func(name string) *leasedVolume {
		GinkgoHelper()
		return newLeasedVolume(newPod(namespace, map[string]string{"connection": name})).mounted(caller)
	}

	It("has one of its own for each volume: certificates of pki/issue", func() {
		c := builder.Connection(namespace, "tls", certificate, builder.WithSecret("x"), written(pki, "issue/shop", `{"common_name": "shop.example.com", "ttl": "30m", "alt_names": "a.example.com"}`))
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded,
			Equal("every reference can be resolved; made for each volume when it is mounted: "+pki+"/issue/shop"))
		one, two := mounted("tls"), mounted("tls")
		Expect(one.files["serial"]).NotTo(Equal(two.files["serial"]))
		pair, err := tls.X509KeyPair([]byte(one.files["tls.crt"]), []byte(one.files["tls.key"]))
		Expect(err).NotTo(HaveOccurred())
		Expect(pair.Leaf.DNSNames).To(ConsistOf("shop.example.com", "a.example.com"))

		By("not at a refresh")
		serial := one.files["serial"]
		Expect(one.resolve(caller)).To(Succeed())
		Expect(one.files["serial"]).To(Equal(serial))

		By("anew when the parameters change")
		update(c, func(c *v1alpha1.Connection) {
			c.Spec.VaultSecrets[0].Parameters = &apiextensionsv1.JSON{Raw: []byte(`{"common_name": "new.example.com"}`)}
		})
		Eventually(func() string { Expect(one.resolve(caller)).To(Succeed()); return one.files["serial"] }).ShouldNot(Equal(serial))
		Expect(caller.release(one.leases)).To(Succeed(), "a certificate has no lease to give back")
	})

	It("has another before it ends", func() {
		create(builder.Connection(namespace, "brief", certificate, builder.WithSecret("x"), builder.WithShortestRefresh, written(pki, "issue/brief", `{"common_name": "a.example.com", "ttl": "9s"}`)))
		v := mounted("brief")
		serial := v.files["serial"]
		Eventually(func() string { Expect(v.resolve(caller)).To(Succeed()); return v.files["serial"] }).ShouldNot(Equal(serial))
	})

	It("has another before it ends, where nothing but the content says when", func() {
		type secret struct {
			engine, path, key string
			parameters        map[string]any
			volume            *leasedVolume
			former            string
		}
		secrets := map[string]*secret{
			"ssh-sign": {engine: "ssh-ca", path: "sign/user", key: "signed_key", parameters: map[string]any{
				"public_key": authorizedKey(), "ttl": "30s", "valid_principals": "app",
			}},
			"ssh-issue": {engine: "ssh-ca", path: "issue/user", key: "signed_key", parameters: map[string]any{
				"key_type": "ed25519", "ttl": "30s", "valid_principals": "app",
			}},
			"pki-sign": {engine: "pki-written", path: "sign/signed", key: "certificate", parameters: map[string]any{
				"csr": certificateRequest(), "common_name": "a.example.com", "ttl": "30s",
			}},
		}
		for name, s := range secrets {
			encoded, err := json.Marshal(s.parameters)
			Expect(err).NotTo(HaveOccurred())
			create(builder.Connection(namespace, name, map[string]any{"certificate": "vault.secret(" + s.key + ")"}, builder.WithSecret("x"),
				written(s.engine, s.path, string(encoded)), func(c *v1alpha1.Connection) { c.Spec.RefreshInterval = &metav1.Duration{Duration: time.Hour} }))
			s.volume = mounted(name)
			s.former = s.volume.files["certificate"]
			Expect(s.volume.resolve(caller)).To(Succeed())
			Expect(s.volume.files["certificate"]).To(Equal(s.former), "%s: while most of its life is to come", name)
			Expect(s.volume.after).To(BeNumerically("<=", 20*time.Second), "%s: the volume is told to come back before it ends", name)
		}
		for name, s := range secrets {
			Eventually(func() string {
				for _, all := range secrets {
					if all.volume.files["certificate"] == all.former {
						Expect(all.volume.resolve(caller)).To(Succeed())
					}
				}
				return s.volume.files["certificate"]
			}).WithTimeout(90*time.Second).ShouldNot(Equal(s.former), name)
		}
		for name, s := range secrets {
			_, ended := validity(s.former)
			began, _ := validity(s.volume.files["certificate"])
			Expect(began.Add(notBefore)).To(BeTemporally("<", ended), "%s: before it ends", name)
			Expect(caller.release(s.volume.leases)).To(Succeed())
		}
	})

	It("keeps what has no end: data keys of transit", func() {
		create(builder.Connection(namespace, "key", map[string]any{"password": "vault.secret(plaintext)", "wrapped": "vault.secret(ciphertext)"}, builder.WithSecret("x"),
			written(transit, "datakey/plaintext/shop", `{"bits": 256}`)))
		v := mounted("key")
		password := v.files["password"]
		Expect(v.resolve(caller)).To(Succeed())
		Expect(v.files["password"]).To(Equal(password))
		Expect(mounted("key").files["password"]).NotTo(Equal(password))
	})

	It("is told what Vault has against its parameters, and changes no KV secret", func() {
		vault.PutKV("kv/"+namespace, map[string]any{"password": "as it was"})
		create(
			builder.Connection(namespace, "domain", certificate, builder.WithSecret("x"), written(pki, "issue/shop", `{"common_name": "elsewhere.example.org"}`)),
			builder.Connection(namespace, "none", certificate, builder.WithSecret("x"), written(pki, "issue/shop", "")),
			builder.Connection(namespace, "role", certificate, builder.WithSecret("x"), written(pki, "issue/nobody", `{"common_name": "shop.example.com"}`)),
			builder.Connection(namespace, "kv", map[string]any{"a": "vault.secret(password)"}, builder.WithSecret("x"), written("kv", namespace, `{"password": "changed"}`)),
			builder.Connection(namespace, "silent", map[string]any{"a": "vault.secret(x)"}, builder.WithSecret("x"), written("ssh-written", "roles/x", `{"key_type": "ca", "allow_user_certificates": true}`)),
			builder.Connection(namespace, "sys", map[string]any{"a": "vault.secret(x)"}, builder.WithSecret("x"), written("sys", "policies/password/x/generate", "")),
		)
		for name, sentence := range map[string]string{
			"domain": "400 Vault rejects the request", "none": "check path and parameters", "role": "vault write with the same shows Vault's reason",
			"kv": "a write changes the secret", "sys": `is of type "system"`,
			"silent": "without data (VaultConfig " + namespace + "/main, auth token); use a path that answers, or a VaultTask for what has only an effect",
		} {
			_, err := mountEventually(caller, newPod(namespace, map[string]string{"connection": name}))
			expectFault(err, v1alpha1.ReasonInvalidRequest, sentence)
		}
		Expect(vault.Get("kv/" + namespace)).To(HaveKeyWithValue("password", "as it was"))
	})

	It("may have it by another namespace's VaultConfig only where that lets it write", func() {
		shop := newNamespace()
		grant := v1alpha1.NamespaceGrant{Names: []v1alpha1.NamespaceName{v1alpha1.NamespaceName(shop)}, PathPrefixes: []v1alpha1.PathPrefix{v1alpha1.PathPrefix(pki)}}
		config := vault.Config(namespace, "main")
		update(config, func(c *v1alpha1.VaultConfig) { c.Spec.AllowedNamespaces = []v1alpha1.NamespaceGrant{grant} })
		c := builder.Connection(shop, "tls", certificate, builder.WithSecret("x"), written(pki, "issue/shop", `{"common_name": "shop.example.com"}`),
			func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].VaultConfigRef.Namespace = namespace })
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed, ContainSubstring("GenericWrite"))
		grant.TaskOperations = []v1alpha1.VaultTaskOperation{v1alpha1.OperationGenericWrite}
		update(config, func(c *v1alpha1.VaultConfig) { c.Spec.AllowedNamespaces = []v1alpha1.NamespaceGrant{grant} })
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	DescribeTable("is rejected at admission, with the cure, where it makes no sense",
		func(message string, mutate func(*v1alpha1.VaultSecret)) {
			c := builder.Connection("default", "bad", map[string]any{"a": "b"}, builder.WithSecret("x"), func(c *v1alpha1.Connection) { mutate(&c.Spec.VaultSecrets[0]) })
			Expect(cp.Client.Create(ctx, c, client.DryRunAll)).To(MatchError(ContainSubstring(message)))
		},
		Entry("parameters of a read", "set method to POST", func(s *v1alpha1.VaultSecret) { s.Parameters = &apiextensionsv1.JSON{Raw: []byte(`{"a": "b"}`)} }),
		Entry("parameters that are a list", "must be of type object", func(s *v1alpha1.VaultSecret) {
			s.Method, s.Parameters = v1alpha1.SecretMethodPost, &apiextensionsv1.JSON{Raw: []byte(`["a"]`)}
		}),
		Entry("a version", "leave them out", func(s *v1alpha1.VaultSecret) { s.Method, s.Version = v1alpha1.SecretMethodPost, new(int64(1)) }),
		Entry("another method", "Unsupported value", func(s *v1alpha1.VaultSecret) { s.Method = "PUT" }),
	)

	It("is written by whoever may create VaultTasks", func() {
		for role, users := range map[string][]string{"edit": {"written-edit", "written-admin"}, "admin": {"written-admin"}} {
			binding := &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sallyport-" + role},
			}
			for _, user := range users {
				binding.Subjects = append(binding.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user})
			}
			create(binding)
		}
		c := builder.Connection(namespace, "tls", certificate, builder.WithSecret("x"), written(pki, "issue/shop", ""))
		plain := builder.Connection(namespace, "plain", map[string]any{"a": "b"}, builder.WithSecret("x"))
		Eventually(func() error { return as("written-edit", "").Create(ctx, plain.DeepCopy()) }).Should(Succeed())
		Expect(as("written-edit", "").Create(ctx, c.DeepCopy())).To(MatchError(ContainSubstring("without the right to create VaultTasks")))
		patch := func(c *v1alpha1.Connection, text string) error {
			return as("written-edit", "").Patch(ctx, c.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(text)))
		}
		Expect(patch(plain, `{"spec":{"vaultSecrets":[{"vaultConfigRef":{"name":"main"},"secretPath":"x","method":"POST"}]}}`)).To(
			MatchError(ContainSubstring("without the right to create VaultTasks")))
		Eventually(func() error { return as("written-admin", "").Create(ctx, c.DeepCopy()) }).Should(Succeed())
		By("who lets others change what is beside the spec")
		Expect(patch(c, `{"metadata":{"labels":{"a":"b"}}}`)).To(Succeed())
	})
})
