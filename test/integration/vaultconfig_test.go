package integration

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A VaultConfig", func() {
	var namespace string

	BeforeEach(func() { namespace = newNamespace() })

	It("becomes Ready and shows Vault and its token, without the token", func() {
		token := tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}, TTL: time.Hour})
		config := vault.Config(namespace, "main")
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		expectCondition(config, v1alpha1.ConditionReachable, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		expectCondition(config, v1alpha1.ConditionAuthenticated, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(config.Status.AuthMethod).To(Equal("token"))
		Expect(config.Status.Vault.Version).NotTo(BeEmpty())
		Expect(config.Status.Vault.Sealed).To(BeFalse())
		Expect(config.Status.Token.Policies).To(ConsistOf("default", "all-secrets"))
		Expect(config.Status.Token.Renewable).To(BeTrue())
		Expect(config.Status.Token.ExpireTime.Time).To(BeTemporally("~", time.Now().Add(time.Hour), time.Minute))
		Expect(token).NotTo(BeEmpty())
	})

	It("takes its CA certificate from a ConfigMap or a Secret", func() {
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
		create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ca"}, Data: map[string]string{"ca.crt": vault.CACertificate()}})
		fromConfigMap := vault.Config(namespace, "from-config-map", func(c *v1alpha1.VaultConfig) {
			c.Spec.CACertificate = ""
			c.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "ca", Key: "ca.crt"}}
		})
		create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ca"}, Data: map[string][]byte{"ca.crt": []byte(vault.CACertificate())}})
		fromSecret := vault.Config(namespace, "from-secret", func(c *v1alpha1.VaultConfig) {
			c.Spec.CACertificate = ""
			c.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "ca", Key: "ca.crt"}}
		})
		create(fromConfigMap, fromSecret)
		expectCondition(fromConfigMap, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		expectCondition(fromSecret, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("renews its token before it expires, and says so once and not every few seconds", func() {
		token := tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}, TTL: 30 * time.Second})
		config := vault.Config(namespace, "main")
		create(config)
		expectCondition(config, v1alpha1.ConditionRenewing, metav1.ConditionTrue, v1alpha1.ReasonRenewed)
		Expect(config.Status.Token.ExpireTime).To(BeNil())
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(config), config)).To(Succeed())
			g.Expect(config.Status.Token.LastRenewalTime).NotTo(BeNil())
		}).Should(Succeed())
		renewed := func() string {
			alive, err := vault.Client().Auth().Token().Lookup(token)
			Expect(err).NotTo(HaveOccurred())
			Expect(alive.Data).To(HaveKeyWithValue("last_renewal", Not(BeNil())))
			return fmt.Sprint(alive.Data["last_renewal"])
		}
		before := config.ResourceVersion
		unchanged := func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(config), config)).To(Succeed())
			g.Expect(config.ResourceVersion).To(Equal(before))
		}
		first := renewed()
		Eventually(func() string { unchanged(Default); return renewed() }).WithTimeout(90 * time.Second).ShouldNot(Equal(first))
		Consistently(unchanged, 2*time.Second).Should(Succeed(), "the second renewal is not told")
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("says when the token dies once max TTL stops the renewal, in a condition and in an event", func() {
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}, TTL: 30 * time.Second, ExplicitMaxTTL: 32 * time.Second})
		config := vault.Config(namespace, "main")
		create(config)
		expectCondition(config, v1alpha1.ConditionRenewing, metav1.ConditionFalse, v1alpha1.ReasonMaxTTLReached,
			ContainSubstring("put a new token into Secret "+namespace+`/vault-token, key "token"`))
		Expect(config.Status.Token.MaxTTLReached).To(BeTrue())
		expectEvent(config, "Warning", v1alpha1.ReasonMaxTTLReached)

		By("dying as foretold")
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed)

		By("coming back with the next token")
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "vault-token"}}
		next := vault.Token(env.TokenOptions{Policies: []string{"all-secrets"}})
		remember(next)
		update(secret, func(s *corev1.Secret) { s.Data["token"] = []byte(next) })
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("does not renew with autoRenew: false", func() {
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}, TTL: time.Hour})
		no := false
		config := vault.Config(namespace, "main", func(c *v1alpha1.VaultConfig) { c.Spec.AutoRenew = &no })
		create(config)
		expectCondition(config, v1alpha1.ConditionRenewing, metav1.ConditionFalse, v1alpha1.ReasonRenewalDisabled, ContainSubstring("the token dies at "))
		Expect(config.Status.Token.NextRenewalTime).To(BeNil())
	})

	It("says of a token that cannot be renewed when it dies", func() {
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}, TTL: time.Hour, NotRenewable: true})
		config := vault.Config(namespace, "main")
		create(config)
		expectCondition(config, v1alpha1.ConditionRenewing, metav1.ConditionFalse, v1alpha1.ReasonNotRenewable, ContainSubstring("the token dies at "))
	})

	It("writes no status while nothing changes", func() {
		readyConfig(namespace)
		config := vault.Config(namespace, "main")
		Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(config), config)).To(Succeed())
		before := config.ResourceVersion
		// An annotation of somebody else's is no reason either.
		Consistently(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(config), config)).To(Succeed())
			g.Expect(config.ResourceVersion).To(Equal(before))
		}, 5*time.Second, time.Second).Should(Succeed())
	})

	It("is Suspended while it is disabled", func() {
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
		no := false
		config := vault.Config(namespace, "main", func(c *v1alpha1.VaultConfig) { c.Spec.Enabled = &no })
		create(config)
		expectCondition(config, v1alpha1.ConditionSuspended, metav1.ConditionTrue, v1alpha1.ReasonConfigDisabled)
		update(config, func(c *v1alpha1.VaultConfig) { c.Spec.Enabled = nil })
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})
})

// expectEvent waits for an event about an object.
func expectEvent(object client.Object, kind, reason string) {
	GinkgoHelper()
	Eventually(func() []string { return eventsOf(object) }).Should(ContainElement(kind + " " + reason))
}

// eventsOf are the types and reasons of all events about an object.
func eventsOf(object client.Object) (seen []string) {
	GinkgoHelper()
	list := &eventsv1.EventList{}
	Expect(cp.Client.List(ctx, list, client.InNamespace(object.GetNamespace()))).To(Succeed())
	for _, e := range list.Items {
		if e.Regarding.UID == object.GetUID() {
			seen = append(seen, e.Type+" "+e.Reason)
		}
	}
	return seen
}
