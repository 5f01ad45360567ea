package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

var _ = Describe("A VaultConfig that logs in", func() {
	var namespace, mount string

	// userPass sets up the user bob on the given terms, and returns a VaultConfig that logs in as him.
	userPass := func(terms map[string]any) *v1alpha1.VaultConfig {
		GinkgoHelper()
		namespace = newNamespace()
		mount = "userpass-" + namespace
		password := canary()
		vault.EnableAuth(mount, "userpass")
		DeferCleanup(func() { vault.DisableAuth(mount) })
		terms["password"], terms["token_policies"] = password, "all-secrets"
		vault.Write("auth/"+mount+"/users/bob", terms)
		create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bob"}, Data: map[string][]byte{"password": []byte(password)}})
		config := vault.Config(namespace, "main", func(c *v1alpha1.VaultConfig) {
			c.Spec.Auth = v1alpha1.VaultAuth{UserPass: &v1alpha1.PasswordAuth{
				Mount: v1alpha1.MountPath(mount), Username: "bob", PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: "bob", Key: "password"},
			}}
		})
		create(config)
		return config
	}
	living := func() int { return vault.TokensFrom("auth/" + mount + "/login/bob") }
	events := func(config *v1alpha1.VaultConfig) int {
		GinkgoHelper()
		list := &eventsv1.EventList{}
		Expect(cp.Client.List(ctx, list, client.InNamespace(config.Namespace))).To(Succeed())
		count := 0
		for _, e := range list.Items {
			if e.Regarding.UID == config.UID {
				count++
				if e.Series != nil {
					count += int(e.Series.Count)
				}
			}
		}
		return count
	}

	It("shows its token, revokes it when it goes, and a replica's when that stops", func() {
		config := userPass(map[string]any{"token_ttl": "1h", "token_max_ttl": "2h"})
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, Equal("Vault answers and accepts the login"))
		expectCondition(config, v1alpha1.ConditionRenewing, metav1.ConditionTrue, v1alpha1.ReasonRenewed)
		Expect(config.Status.AuthMethod).To(Equal("userPass"))
		Expect(config.Status.Token.Policies).To(ConsistOf("default", "all-secrets"))
		Expect(config.Status.Token.ExpireTime.Time).To(BeTemporally("~", time.Now().Add(time.Hour), time.Minute))
		Expect(config.Status.Token.NextRenewalTime).NotTo(BeNil())
		Expect(living()).To(Equal(1))

		By("starting and stopping another replica")
		conditions, told := config.Status.Conditions, events(config)
		second, err := cp.StartController(ctx, "sallyport-controller-1", log)
		Expect(err).NotTo(HaveOccurred())
		vault.PutKV("secret/data/"+namespace+"/db", map[string]any{"password": canary()})
		create(builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/db")))
		_, err = mountEventually(newCaller(second), newPod(namespace, map[string]string{v1alpha1.AttributeConnection: "db"}))
		Expect(err).NotTo(HaveOccurred())
		Expect(living()).To(Equal(2), "one for each replica that uses it")
		Expect(second.Stop()).To(Succeed())
		Expect(living()).To(Equal(1), "nothing depends on the token of the one that stopped")
		Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(config), config)).To(Succeed())
		Expect(config.Status.Conditions).To(Equal(conditions))
		Expect(events(config)).To(Equal(told))

		By("deleting it")
		Expect(cp.Client.Delete(ctx, config)).To(Succeed())
		Eventually(living).Should(Equal(0))
	})

	It("is written about only when something changes, however short its tokens live", func() {
		config := userPass(map[string]any{"token_ttl": "24s", "token_max_ttl": "48s"})
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(config.Status.Token.ExpireTime).To(BeNil())
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(config), config)).To(Succeed())
			g.Expect(config.Status.Token.LastRenewalTime).NotTo(BeNil(), "the first renewal is told")
		}).Should(Succeed())
		before, told := config.ResourceVersion, events(config)
		path := "auth/" + mount + "/login/bob"
		seen := vault.TokenTerms(path)
		Expect(seen).To(HaveLen(1))
		renewed, replaced := false, false
		unchanged := func() {
			GinkgoHelper()
			Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(config), config)).To(Succeed())
			Expect(config.ResourceVersion).To(Equal(before), "%+v", config.Status)
			terms := vault.TokenTerms(path)
			Expect(len(terms)).To(BeNumerically("<=", 2))
			for accessor, ends := range terms {
				before, known := seen[accessor]
				renewed, replaced = renewed || known && ends.After(before), replaced || !known
				seen[accessor] = ends
			}
		}
		// Once more, and before the max TTL by another; nobody is told.
		Eventually(func() bool { unchanged(); return renewed && replaced }).WithTimeout(2 * time.Minute).WithPolling(time.Second).Should(BeTrue())
		Consistently(func() bool { unchanged(); return living() >= 1 }).WithTimeout(2 * time.Second).Should(BeTrue())
		Expect(events(config)).To(Equal(told))
	})

	It("says that the password is wrong, once, and takes up the right one", func() {
		config := userPass(map[string]any{"token_ttl": "1h"})
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bob"}}
		var right []byte
		update(secret, func(s *corev1.Secret) { right, s.Data["password"] = s.Data["password"], []byte(canary()) })
		update(config, func(c *v1alpha1.VaultConfig) { c.Spec.Auth.UserPass.VaultNamespace = "root" }) // have it looked at now
		sentence := "wrong user name or password"
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed, And(ContainSubstring(sentence),
			ContainSubstring("put the right password into Secret "+namespace+`/bob, key "password"`)))
		expectCondition(config, v1alpha1.ConditionAuthenticated, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed)
		expectEvent(config, "Warning", v1alpha1.ReasonAuthFailed)
		Expect(config.Status.Token).To(BeNil())
		Eventually(living).Should(BeZero(), "the former token is revoked")

		update(secret, func(s *corev1.Secret) { s.Data["password"] = right })
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("has a service account of its namespace log in", func() {
		namespace = newNamespace()
		mount = "kubernetes-" + namespace
		vault.EnableAuth(mount, "kubernetes")
		DeferCleanup(func() { vault.DisableAuth(mount) })
		vault.TrustCluster(ctx, cp, mount, "kubernetes")
		vault.Write("auth/"+mount+"/role/app", map[string]any{"bound_service_account_names": "app", "bound_service_account_namespaces": namespace,
			"audience": "vault", "token_policies": "all-secrets", "token_ttl": "1h"})
		config := vault.Config(namespace, "main", func(c *v1alpha1.VaultConfig) {
			c.Spec.Auth = v1alpha1.VaultAuth{Kubernetes: &v1alpha1.ServiceAccountAuth{Mount: v1alpha1.MountPath(mount), Role: "app", ServiceAccountName: "app"}}
		})
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonCredentialMissing,
			ContainSubstring("service account "+namespace+"/app does not exist"))
		create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "app"}})
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)

		By("a role that refuses it, and is put right, when somebody asks for a look")
		other := vault.Config(namespace, "other", func(c *v1alpha1.VaultConfig) {
			c.Spec.Auth = v1alpha1.VaultAuth{Kubernetes: &v1alpha1.ServiceAccountAuth{Mount: v1alpha1.MountPath(mount), Role: "late", ServiceAccountName: "app"}}
		})
		create(other)
		expectCondition(other, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed)
		time.Sleep(2 * time.Second) // the tries of the beginning
		vault.Write("auth/"+mount+"/role/late", map[string]any{"bound_service_account_names": "app", "bound_service_account_namespaces": namespace,
			"audience": "vault", "token_policies": "all-secrets", "token_ttl": "1h"})
		update(other, func(c *v1alpha1.VaultConfig) { c.Annotations = map[string]string{v1alpha1.AnnotationRefresh: "now"} })
		Eventually(func() metav1.ConditionStatus {
			Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(other), other)).To(Succeed())
			return meta.FindStatusCondition(other.Status.Conditions, v1alpha1.ConditionReady).Status
		}, "25s").Should(Equal(metav1.ConditionTrue), "the next try by itself comes after half a minute")
	})

	DescribeTable("is refused by the API server with the cure, if its auth makes no sense",
		func(sentence string, auth v1alpha1.VaultAuth) {
			config := vault.Config(newNamespace(), "main", builder.WithAuth(auth))
			Expect(cp.Client.Create(ctx, config)).To(MatchError(ContainSubstring(sentence)))
		},
		Entry("two methods", "exactly one of the fields in", v1alpha1.VaultAuth{
			Token: &v1alpha1.TokenAuth{SecretKeyRef: v1alpha1.SecretKeyReference{Name: "a", Key: "b"}},
			Cert:  &v1alpha1.CertAuth{ClientCertificateSecretRef: v1alpha1.TLSSecretReference{Name: "a"}},
		}),
		Entry("neither a service account nor a workload", "set exactly one of serviceAccountName and workload: true",
			v1alpha1.VaultAuth{JWT: &v1alpha1.ServiceAccountAuth{Role: "a"}}),
		Entry("both", "set exactly one of serviceAccountName and workload: true",
			v1alpha1.VaultAuth{JWT: &v1alpha1.ServiceAccountAuth{Role: "a", Workload: new(true), ServiceAccountName: "a"}}),
		Entry("Sallyport's audience", "name an audience of Vault's own",
			v1alpha1.VaultAuth{JWT: &v1alpha1.ServiceAccountAuth{Role: "a", Workload: new(true), Audience: "sallyport.dev"}}),
		Entry("the node's audience", "name an audience of Vault's own",
			v1alpha1.VaultAuth{JWT: &v1alpha1.ServiceAccountAuth{Role: "a", Workload: new(true), Audience: "sallyport.dev/node"}}),
		Entry("the API server's audience", "name an audience of Vault's own",
			v1alpha1.VaultAuth{Kubernetes: &v1alpha1.ServiceAccountAuth{Role: "a", ServiceAccountName: "a", Audience: "https://kubernetes.default.svc.cluster.local"}}),
		Entry("a mount with auth/", "write the mount path alone",
			v1alpha1.VaultAuth{JWT: &v1alpha1.ServiceAccountAuth{Role: "a", Workload: new(true), Mount: "auth/jwt"}}),
		Entry("a user name with a slash", "a user name holds no slash", v1alpha1.VaultAuth{LDAP: &v1alpha1.PasswordAuth{
			Username: "a/b", PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: "a", Key: "b"}}}),
	)
})
