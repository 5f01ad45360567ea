//go:build linux

package mounted

import (
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/collector"
)

// below returns the spans that have another as their parent.
func below(spans []collector.Span, parent collector.Span, name string) []collector.Span {
	return slices.DeleteFunc(slices.Clone(spans), func(s collector.Span) bool {
		return s.Parent != parent.ID || s.Trace != parent.Trace || s.Name != name
	})
}

// roots returns the spans of a pod, or of another object, that begin a trace.
func roots(spans []collector.Span, name, attribute, value string) []collector.Span {
	return slices.DeleteFunc(slices.Clone(spans), func(s collector.Span) bool {
		return s.Parent != "" || s.Name != name || s.Attributes[attribute] != value
	})
}

var _ = Describe("Traces", func() {
	It("show how a volume came about: what the node plugin did, what the resolver, and each request to Vault", func() {
		namespace := newNamespace()
		vault.PutKV("secret/data/"+namespace+"/a", map[string]any{"a": newSecret()})
		vault.PutKV("secret/data/"+namespace+"/b", map[string]any{"b": newSecret()})
		c := builder.Connection(namespace, "db", map[string]any{"a": "vault.secret(a)", "b": "vault.secret(b)"},
			builder.WithSecret(namespace+"/a"), builder.WithSecret(namespace+"/b"), builder.WithShortestRefresh)
		create(c)
		expectReady(c, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		pod, _ := mount(namespace, "db")
		Eventually(func(g Gomega) {
			spans := traces.Spans()
			published := roots(spans, "publish", "k8s.pod.name", pod.Name)
			g.Expect(published).To(HaveLen(1))
			g.Expect(published[0].Service).To(Equal("sallyport-node"))
			g.Expect(published[0].Failed).To(BeEmpty())
			resolved := below(spans, published[0], "resolve")
			g.Expect(resolved).To(HaveLen(1))
			g.Expect(resolved[0].Service).To(Equal("sallyport-controller"))
			g.Expect(resolved[0].Attributes).To(Equal(map[string]string{
				"k8s.namespace.name": namespace, "k8s.pod.name": pod.Name, "k8s.node.name": node.Name, "sallyport.connection": "db",
			}))
			read := below(spans, resolved[0], "vault read")
			g.Expect(read).To(HaveLen(2))
			for _, request := range read {
				g.Expect(request.Attributes).To(HaveKeyWithValue("sallyport.object", "VaultConfig "+namespace+"/main"))
				g.Expect(request.Attributes["http.response.status_code"]).To(ContainSubstring("200"))
				g.Expect(request.Events).To(Equal([]string{"sent"}))
			}
			g.Expect(roots(spans, "look at VaultConfig", "sallyport.object", "VaultConfig "+namespace+"/main")).NotTo(BeEmpty())
			g.Expect(roots(spans, "check Connection", "sallyport.object", "Connection "+namespace+"/db")).NotTo(BeEmpty())
			refreshed := roots(spans, "refresh", "k8s.pod.name", pod.Name)
			g.Expect(refreshed).NotTo(BeEmpty())
			g.Expect(below(spans, refreshed[0], "resolve")).To(HaveLen(1))
		}).Should(Succeed())
	})

	It("tell the reason of what failed, and nothing of what the sentence says", func() {
		namespace := newNamespace()
		c := builder.Connection(namespace, "db", map[string]any{"a": "vault.secret(a)"}, builder.WithSecret(namespace+"/missing"))
		create(c)
		expectReady(c, metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
		pod := newPod(namespace, "db")
		_, err := plugin.Publish(ctx, pod)
		Expect(err).To(MatchError(ContainSubstring(namespace + "/missing")))
		Eventually(func(g Gomega) {
			spans := traces.Spans()
			published := roots(spans, "publish", "k8s.pod.name", pod.Name)
			g.Expect(published).To(HaveLen(1))
			resolved := below(spans, published[0], "resolve")
			g.Expect(resolved).To(HaveLen(1))
			for _, span := range []collector.Span{published[0], resolved[0]} {
				g.Expect(span.Failed).To(Equal(v1alpha1.ReasonSecretNotFound))
				g.Expect(span.Attributes).To(HaveKeyWithValue("sallyport.reason", v1alpha1.ReasonSecretNotFound))
			}
			g.Expect(roots(spans, "check Connection", "sallyport.object", "Connection "+namespace+"/db")).NotTo(BeEmpty())
		}).Should(Succeed())
		Expect(traces.Bytes()).NotTo(ContainSubstring(namespace + "/missing"))
	})
})
