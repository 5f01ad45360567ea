package integration

import (
	"encoding/json"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"software.sslmate.com/src/go-pkcs12"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("References", func() {
	var namespace, password string

	BeforeEach(func() {
		namespace = newNamespace()
		readyConfig(namespace)
		password = canary()
		vault.PutKV("secret/data/"+namespace+"/app", map[string]any{
			"user": "scott", "a.b": map[string]any{"c.d": "dotted"}, "plain": password,
			"config": map[string]any{"hosts": []any{"one", map[string]any{"port": 1521}}},
			"text":   `{"db": {"password": "` + password + `", "ports": [5432]}}`,
		})
	})

	attached := func(name, path string, optional bool) v1alpha1.VaultSecret {
		secret := builder.VaultSecret(name, namespace+"/"+path)
		if optional {
			secret.Optional = new(true)
		}
		return secret
	}

	It("mean a whole secret, lead into objects, lists and JSON in text, and keep types", func() {
		c := builder.Connection(namespace, "paths", map[string]any{
			"all": "vault.secret(app.*)", "port": "vault.secret(app.config.hosts.1.port)", "host": "vault.secret(app.config.hosts.0)",
			"inText": "vault.secret(app.text.db.password)", "list": "vault.secret(app.text.db.ports)", "dotted": `vault.secret(app."a.b"."c.d")`,
			"direct": "x vault.secret(main:" + namespace + "/app.text.db.ports.0)", "directly": "vault.secret(main:" + namespace + "/app.*)",
		}, builder.WithSecrets(attached("app", "app", false)))
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(c.Status.Secrets).To(ConsistOf(HaveField("Version", BeEquivalentTo(1))), "attached, and named by its path, too, it is one")
		response, err := mountEventually(newCaller(replica), newPod(namespace, map[string]string{"connection": "paths"}))
		Expect(err).NotTo(HaveOccurred())
		found := files(response)
		Expect(found).To(And(HaveKeyWithValue("port", "1521"), HaveKeyWithValue("host", "one"), HaveKeyWithValue("inText", password),
			HaveKeyWithValue("list", "[5432]"), HaveKeyWithValue("dotted", "dotted"), HaveKeyWithValue("direct", "x 5432")))
		var all map[string]any
		Expect(json.Unmarshal([]byte(found["all"]), &all)).To(Succeed())
		Expect(all).To(And(HaveLen(5), HaveKeyWithValue("user", "scott")))
		Expect(found["directly"]).To(Equal(found["all"]))
	})

	It("have a default for what is absent, and follow what comes and goes", func() {
		proxy, err := env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		create(vault.Config(namespace, "counted", builder.WithURL(proxy.URL())))
		later := attached("later", "later", true)
		later.VaultConfigRef.Name = "counted"
		c := builder.Connection(namespace, "absent", map[string]any{
			"missingKey": `vault.secret(app.missing, "none")`, "field": "vault.secret(app.config.timeout, 30)", "optional": "vault.secret(later.token)",
			"optionalText": "<vault.secret(later.token)>", "default": `vault.secret(later.token, {"a": [1]})`, "there": `vault.secret(app.user, "nobody")`,
		}, builder.WithSecrets(attached("app", "app", false), later), builder.WithShortestRefresh)
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded,
			Equal("every reference can be resolved; not there, and not needed: secret/data/"+namespace+"/later"))
		Expect(c.Status.Secrets).To(HaveLen(1), "what is not there has no version")
		caller, pod := newCaller(replica), newPod(namespace, map[string]string{"connection": "absent"})
		response, err := mountEventually(caller, pod)
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(And(HaveKeyWithValue("missingKey", "none"), HaveKeyWithValue("field", "30"), HaveKeyWithValue("optional", ""),
			HaveKeyWithValue("optionalText", "<>"), HaveKeyWithValue("default", `{"a":[1]}`), HaveKeyWithValue("there", "scott")))

		By("asking Vault no more often for what is not there than for what is")
		reads := func() int { return proxy.Counts()["GET secret/data/"+namespace+"/later"] }
		before, began := reads(), time.Now()
		for range 20 {
			again, failed := caller.mount(pod, response.GetRevision())
			Expect(failed).NotTo(HaveOccurred())
			Expect(again.GetUnchanged()).To(BeTrue())
		}
		Expect(reads()-before).To(BeNumerically("<=", 2+2*int(time.Since(began)/(5*time.Second))), "once in each interval, by the check too")

		By("the secret coming")
		vault.PutKV("secret/data/"+namespace+"/later", map[string]any{"token": password})
		Eventually(func(g Gomega) {
			next, failed := caller.mount(pod, response.GetRevision())
			g.Expect(failed).NotTo(HaveOccurred())
			g.Expect(files(next)).To(And(HaveKeyWithValue("optional", password), HaveKeyWithValue("default", password)))
		}).Should(Succeed())
		By("the secret going")
		_, err = vault.Client().Logical().Delete("secret/data/" + namespace + "/later")
		Expect(err).NotTo(HaveOccurred())
		Eventually(func(g Gomega) {
			next, err := caller.mount(pod)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(files(next)).To(HaveKeyWithValue("optional", ""))
		}).Should(Succeed())
	})

	It("have no default for what is denied, sealed, or has no engine", func() {
		tokenSecretNamed(namespace, "narrow", env.TokenOptions{Policies: []string{"default"}})
		vault.Policy("nowhere", `path "nowhere/*" { capabilities = ["read"] }`)
		tokenSecretNamed(namespace, "nowhere", env.TokenOptions{Policies: []string{"nowhere"}})
		create(vault.Config(namespace, "narrow", builder.WithTokenSecret("narrow")), vault.Config(namespace, "nowhere", builder.WithTokenSecret("nowhere")))
		secret := attached("app", "app", true)
		secret.VaultConfigRef.Name = "narrow"
		denied := builder.Connection(namespace, "denied", map[string]any{"a": `vault.secret(app.user, "nobody")`}, builder.WithSecrets(secret))
		secret = attached("app", "app", true)
		secret.VaultConfigRef.Name, secret.EnginePath, secret.KVVersion = "nowhere", "nowhere", v1alpha1.KVVersion2
		nowhere := builder.Connection(namespace, "nowhere", map[string]any{"a": `vault.secret(app.user, "nobody")`}, builder.WithSecrets(secret))
		create(denied, nowhere)
		expectCondition(denied, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPermissionDenied)
		expectCondition(nowhere, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound, ContainSubstring("no secrets engine is mounted"))
	})

	It("into text that is no JSON fail in the pod's event with place and cure, and not in the check, which looks at no value", func() {
		c := builder.Connection(namespace, "plain", map[string]any{"a": []any{"vault.secret(app.plain.field)"}}, builder.WithSecrets(attached("app", "app", false)))
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		_, err := mountEventually(newCaller(replica), newPod(namespace, map[string]string{"connection": "plain"}))
		Expect(err).To(MatchError(And(ContainSubstring(`key "a[0]": vault.secret(app.plain.field): plain: it is text that holds no JSON object or list; `+
			"refer to all of it, or keep an object or a list there"), Not(ContainSubstring(password)))))
	})
})

var _ = Describe("References that a secret brings which is spread", func() {
	var namespace, password string

	BeforeEach(func() {
		namespace = newNamespace()
		readyConfig(namespace)
		password = canary()
		vault.PutKV("secret/data/"+namespace+"/app", map[string]any{"user": "scott", "password": password})
	})

	spread := func(path string, mutate ...func(*v1alpha1.VaultSecret)) v1alpha1.VaultSecret {
		secret := builder.VaultSecret("", namespace+"/"+path)
		secret.Spread = new(true)
		for _, m := range mutate {
			m(&secret)
		}
		return secret
	}

	It("makes a file of each key that it has, and follows keys that come and go", func() {
		c := builder.Connection(namespace, "spread", map[string]any{"user": "overridden", "host": "h"}, builder.WithSecrets(spread("app")), builder.WithShortestRefresh)
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		caller, pod := newCaller(replica), newPod(namespace, map[string]string{"connection": "spread", "value.user": "me"})
		response, err := mountEventually(caller, pod)
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(Equal(map[string]string{"type": "test", "user": "me", "host": "h", "password": password}))
		again, err := caller.mount(pod, response.GetRevision())
		Expect(err).NotTo(HaveOccurred())
		Expect(again.GetUnchanged()).To(BeTrue())
		vault.PutKV("secret/data/"+namespace+"/app", map[string]any{"token": password})
		Eventually(func(g Gomega) {
			next, err := caller.mount(pod, response.GetRevision())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(files(next)).To(Equal(map[string]string{"type": "test", "user": "me", "host": "h", "token": password}))
		}).Should(Succeed())
	})

	It("says what cannot be a file, or comes from two", func() {
		vault.PutKV("secret/data/"+namespace+"/names", map[string]any{"pass word": "x", "password": "y"})
		create(builder.Connection(namespace, "names", nil, builder.WithSecrets(spread("names"))))
		named := builder.Connection(namespace, "names", nil)
		expectCondition(named, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidFileName,
			ContainSubstring(`key "pass word" of value cannot be the name of a file`), ContainSubstring("list the keys that are wanted"))
		two := builder.Connection(namespace, "two", nil, builder.WithSecrets(spread("app"), spread("names", func(s *v1alpha1.VaultSecret) { s.Keys = []string{"password"} })))
		create(two)
		expectCondition(two, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAmbiguousKey, ContainSubstring(`key "password" of value`))

		By("Vault being corrected")
		vault.PutKV("secret/data/"+namespace+"/names", map[string]any{"password": "y"})
		expectCondition(named, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("needs spread for prefix and keys", func() {
		c := builder.Connection(namespace, "refused", nil, builder.WithSecrets(spread("app", func(s *v1alpha1.VaultSecret) { s.Spread, s.Prefix = nil, "x" })))
		Expect(cp.Client.Create(ctx, c)).To(MatchError(ContainSubstring("set spread to true")))
	})
})

var _ = Describe("References in directories", func() {
	It("make files below them, and a path that is a file and a directory is refused", func() {
		namespace := newNamespace()
		readyConfig(namespace)
		vault.PutKV("secret/data/"+namespace+"/app", map[string]any{"user": "scott"})
		c := builder.Connection(namespace, "directories", map[string]any{"user": "vault.secret(user)"}, builder.WithSecret(namespace+"/app"), builder.WithFiles(
			v1alpha1.ConnectionFile{Path: "conf.d/app/user", Value: "vault.secret(user)"}, v1alpha1.ConnectionFile{Path: "conf.d/app.json", Format: v1alpha1.FileFormatJSON},
		))
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		response, err := mountEventually(newCaller(replica), newPod(namespace, map[string]string{"connection": "directories"}))
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(Equal(map[string]string{"type": "test", "conf.d/app/user": "scott", "conf.d/app.json": `{"user":"scott"}` + "\n"}))
		update(c, func(c *v1alpha1.Connection) {
			c.Spec.Files = append(c.Spec.Files, v1alpha1.ConnectionFile{Path: "conf.d/app", Value: "x"})
		})
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidFileName, ContainSubstring(`it is the directory of "conf.d/app/user"`))
	})
})

var _ = Describe("References of a key store", Ordered, func() {
	const pki = "pki-references"
	var namespace string

	BeforeAll(func() {
		vault.Mount(pki, "pki")
		DeferCleanup(func() { vault.Unmount(pki) })
		vault.Write(pki+"/root/generate/internal", map[string]any{"common_name": "references", "ttl": "24h"})
		vault.Write(pki+"/roles/web", map[string]any{"allow_any_name": true, "max_ttl": "1h"})
		vault.Policy("references", `path "`+pki+`/issue/*" { capabilities = ["update"] }
			path "secret/*" { capabilities = ["read"] }`)
	})

	BeforeEach(func() {
		namespace = newNamespace()
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"references"}})
		create(vault.Config(namespace, "main"))
		vault.PutKV("secret/data/"+namespace+"/store", map[string]any{"password": canary(), "empty": ""})
	})

	// keyStore is a Connection with a certificate that names the pod, and a key store of it.
	keyStore := func(name, password string, mutate ...func(*v1alpha1.Connection)) *v1alpha1.Connection {
		tls := builder.VaultSecret("tls", "issue/web")
		tls.EnginePath, tls.Method, tls.PodLabels = pki, v1alpha1.SecretMethodPost, []string{"app"}
		tls.Parameters = &apiextensionsv1.JSON{Raw: []byte(
			`{"common_name": "{{ .pod.name }}.{{ .pod.namespace }}.{{ .pod.labels.app }}.example.com", "ttl": "30m"}`)}
		return builder.Connection(namespace, name, nil, builder.WithSecrets(tls, builder.VaultSecret("store", namespace+"/store")), builder.WithFiles(
			v1alpha1.ConnectionFile{Path: "tls.crt", Value: "vault.secret(tls.certificate)"},
			v1alpha1.ConnectionFile{Path: "password", Value: "vault.secret(store.password)"},
			v1alpha1.ConnectionFile{Path: "java/store.p12", Keystore: &v1alpha1.Keystore{
				Format: v1alpha1.KeystoreFormatPKCS12, PrivateKey: "vault.secret(tls.private_key)", Password: password,
				Certificates: []string{"vault.secret(tls.certificate)", "vault.secret(tls.ca_chain, [])"},
			}},
			v1alpha1.ConnectionFile{Path: "java/trust.jks", Keystore: &v1alpha1.Keystore{
				Format: v1alpha1.KeystoreFormatJKS, Certificates: []string{"vault.secret(tls.issuing_ca)"}, Password: password,
			}},
		), builder.All(mutate...))
	}
	labelled := func(pod *corev1.Pod) { pod.Labels = map[string]string{"app": "shop"} }

	It("make it of a certificate for the very pod, and keep it while that lives", func() {
		c := keyStore("tls", "vault.secret(store.password)")
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		pod := newPod(namespace, map[string]string{"connection": "tls"}, labelled)
		volume := newLeasedVolume(pod).mounted(newCaller(replica))
		key, certificate, issuers, err := pkcs12.DecodeChain([]byte(volume.files["java/store.p12"]), volume.files["password"])
		Expect(err).NotTo(HaveOccurred())
		Expect(key).NotTo(BeNil())
		Expect(issuers).To(HaveLen(1))
		Expect(certificate.Subject.CommonName).To(Equal(pod.Name + "." + namespace + ".shop.example.com"))
		Expect(volume.files["java/trust.jks"]).NotTo(BeEmpty())
	})

	It("is refused for a pod without the label, and without a password", func() {
		create(keyStore("tls", "vault.secret(store.password)"), keyStore("empty", "vault.secret(store.empty)"), keyStore("absent", "vault.secret(store.none)"))
		_, err := mountEventually(newCaller(replica), newPod(namespace, map[string]string{"connection": "tls"}))
		Expect(err).To(MatchError(ContainSubstring(`lacks the label "app", which podLabels lists`)))
		_, err = mountEventually(newCaller(replica), newPod(namespace, map[string]string{"connection": "empty"}, labelled))
		Expect(err).To(MatchError(ContainSubstring(`file "java/store.p12": keystore.password: it is empty`)))
		_, err = mountEventually(newCaller(replica), newPod(namespace, map[string]string{"connection": "absent"}, labelled))
		Expect(err).To(MatchError(ContainSubstring(`file "java/store.p12 keystore.password": the secret secret/data/` + namespace + `/store has no key "none"`)))
		refused := keyStore("refused", "x", func(c *v1alpha1.Connection) { c.Spec.Files[2].Keystore.Alias = "a" })
		Expect(cp.Client.Create(ctx, refused)).To(MatchError(ContainSubstring("alias is for JKS and for certificates that are trusted")))
	})
})
