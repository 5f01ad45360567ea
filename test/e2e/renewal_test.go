package e2e

import (
	"time"

	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

var _ = Describe("A token that does not live long", Ordered, func() {
	var (
		t                           *tenant
		renewable, capped, untended *v1alpha1.VaultConfig
	)

	BeforeAll(func(ctx SpecContext) {
		t = newTenant(ctx)
		withToken := func(name string, change func(*vaultapi.TokenCreateRequest)) *v1alpha1.VaultConfig {
			t.keepToken(ctx, name, t.newToken(ctx, change))
			config := t.vaultConfig(name)
			config.Spec.Auth.Token.SecretKeyRef.Name = name
			return config
		}
		renewable = withToken("renewable", func(r *vaultapi.TokenCreateRequest) { r.TTL = "36s" })
		capped = withToken("capped", func(r *vaultapi.TokenCreateRequest) { r.TTL, r.ExplicitMaxTTL = "36s", "48s" })
		untended = withToken("untended", func(r *vaultapi.TokenCreateRequest) { r.TTL = "36s" })
		untended.Spec.AutoRenew = new(false)
		create(ctx, renewable, capped, untended)
		for _, config := range []*v1alpha1.VaultConfig{renewable, capped, untended} {
			expectReady(ctx, config)
		}
	}, NodeTimeout(2*eventual))

	It("is not kept alive by renewals beyond its max TTL, and the owner is warned in time", func(ctx SpecContext) {
		message := "its max TTL allows no further renewal; put a new token into Secret " + t.namespace + "/capped"
		Expect(expectCondition(ctx, capped, v1alpha1.ConditionRenewing, metav1.ConditionFalse, v1alpha1.ReasonMaxTTLReached).Message).
			To(ContainSubstring(message))
		Eventually(ctx, func() []string { return eventsOf(ctx, capped, v1alpha1.ReasonMaxTTLReached) }).WithTimeout(soon).
			Should(ContainElement(ContainSubstring(message)))
	}, SpecTimeout(2*eventual))

	It("is renewed before it expires, again and again", func(ctx SpecContext) {
		Expect(renewable.Status.Token).NotTo(BeNil())
		expectCondition(ctx, renewable, v1alpha1.ConditionRenewing, metav1.ConditionTrue, v1alpha1.ReasonRenewed)
		Eventually(ctx, func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(renewable), renewable)).To(Succeed())
			g.Expect(renewable.Status.Token.LastRenewalTime).NotTo(BeNil(), "the first renewal is told")
		}).WithTimeout(eventual).Should(Succeed())
		// More than two lives. Nothing is written about it: that would be every few seconds.
		version := renewable.ResourceVersion
		Consistently(ctx, func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(renewable), renewable)).To(Succeed())
			g.Expect(renewable.ResourceVersion).To(Equal(version))
		}).WithTimeout(78 * time.Second).WithPolling(time.Second).Should(Succeed())
		Expect(*condition(ctx, renewable, v1alpha1.ConditionReady)).To(HaveField("Status", metav1.ConditionTrue))
	}, SpecTimeout(4*eventual))

	It("is missed when it is dead, until its owner provides another", func(ctx SpecContext) {
		expectNotReady(ctx, untended, v1alpha1.ReasonAuthFailed)
		expectNotReady(ctx, capped, v1alpha1.ReasonAuthFailed)
		t.keepToken(ctx, "capped", t.newToken(ctx, nil))
		expectReady(ctx, capped)
		expectCondition(ctx, capped, v1alpha1.ConditionRenewing, metav1.ConditionTrue, v1alpha1.ReasonRenewed)
	}, SpecTimeout(2*eventual))
})
