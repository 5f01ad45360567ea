//go:build linux

package mounted

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// warnings returns what events say about a pod.
func warnings(g Gomega, pod *corev1.Pod) []string {
	list := &eventsv1.EventList{}
	g.Expect(cp.Client.List(ctx, list, client.InNamespace(pod.Namespace))).To(Succeed())
	var found []string
	for _, e := range list.Items {
		if e.Regarding.UID == pod.UID && e.Type == corev1.EventTypeWarning {
			found = append(found, e.Reason+": "+e.Note)
		}
	}
	return found
}

var _ = Describe("A mounted volume that cannot be refreshed", func() {
	It("keeps its files as they are, its pod is told why, once for each reason, and no new pod mounts it", func() {
		namespace := newNamespace()
		path := "secret/data/" + namespace + "/app"
		large := newSecret() + strings.Repeat("x", 600<<10)
		vault.PutKV(path, map[string]any{"password": newSecret(), "large": large})
		c := builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/app"), builder.WithShortestRefresh)
		create(c)
		expectReady(c, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		pod, dir := mount(namespace, "db")
		good := filesIn(dir)
		before, err := os.Stat(filepath.Join(dir, "password"))
		Expect(err).NotTo(HaveOccurred())

		for _, broken := range []struct {
			reason, says string
			edit         func(*v1alpha1.ConnectionSpec)
		}{
			{v1alpha1.ReasonKeyMissing, `key "password": no attached secret has the key "pasword" (looked in ` + path + ")",
				func(s *v1alpha1.ConnectionSpec) {
					s.Value = builder.JSON(map[string]any{"password": "vault.secret(pasword)"})
				}},
			{v1alpha1.ReasonInvalidExpression, `key "password": column 1`,
				func(s *v1alpha1.ConnectionSpec) { s.Value = builder.JSON(map[string]any{"password": "vault.secret("}) }},
			{v1alpha1.ReasonInvalidFileName, `key "a/b" of value cannot be the name of a file`,
				func(s *v1alpha1.ConnectionSpec) { s.Value = builder.JSON(map[string]any{"a/b": "x"}) }},
			{v1alpha1.ReasonInvalidTemplate, `file "f": line 2: .nothing: there is no such key`,
				func(s *v1alpha1.ConnectionSpec) {
					s.Files = []v1alpha1.ConnectionFile{{Path: "f", Template: "x\n{{ .nothing }}"}}
				}},
			{v1alpha1.ReasonTooLarge, "", func(s *v1alpha1.ConnectionSpec) {
				s.Value = builder.JSON(map[string]any{"a": "vault.secret(large)", "b": "vault.secret(large)"})
			}},
			{v1alpha1.ReasonSecretNotFound, "no secret at this path", func(s *v1alpha1.ConnectionSpec) { s.VaultSecrets[0].SecretPath = "none" }},
			{v1alpha1.ReasonConfigNotFound, "VaultConfig " + namespace + "/none", func(s *v1alpha1.ConnectionSpec) { s.VaultSecrets[0].VaultConfigRef.Name = "none" }},
		} {
			By(broken.reason)
			whole := builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/app"), builder.WithShortestRefresh).Spec
			broken.edit(&whole)
			Eventually(func() error {
				Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(c), c)).To(Succeed())
				c.Spec = whole
				return cp.Client.Update(ctx, c)
			}).Should(Succeed())
			if broken.reason == v1alpha1.ReasonTooLarge { // which depends on values
				expectReady(c, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
			} else {
				expectReady(c, metav1.ConditionFalse, broken.reason)
			}
			_, err = plugin.Publish(ctx, newPod(namespace, "db"))
			Expect(err).To(MatchError(And(ContainSubstring(broken.reason), ContainSubstring(broken.says))), "as the kubelet's FailedMount shows it")
			// The plugin tries the volume ever more seldom. Who waits for every reason waits for minutes.
			if broken.reason == v1alpha1.ReasonKeyMissing || broken.reason == v1alpha1.ReasonConfigNotFound {
				told := And(HavePrefix(broken.reason+": the files of the volume stay as they are: Connection "+namespace+"/db"), ContainSubstring(broken.says))
				Eventually(func(g Gomega) { g.Expect(warnings(g, pod)).To(ContainElement(told)) }, 2*time.Minute).Should(Succeed())
			}
		}
		reasons := map[string]bool{}
		for _, warning := range warnings(Default, pod) {
			reason, _, _ := strings.Cut(warning, ":")
			Expect(reasons).NotTo(HaveKey(reason), "it was told already")
			reasons[reason] = true
		}
		Expect(filesIn(dir)).To(Equal(good))
		after, err := os.Stat(filepath.Join(dir, "password"))
		Expect(err).NotTo(HaveOccurred())
		Expect(os.SameFile(before, after)).To(BeTrue())
		Expect(after.ModTime()).To(Equal(before.ModTime()))
	})

	It("costs no event for each pod while Vault is away", func() {
		namespace := newNamespace()
		vault.PutKV("secret/data/"+namespace+"/app", map[string]any{"password": newSecret()})
		c := builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/app"), builder.WithShortestRefresh)
		create(c)
		expectReady(c, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		pod, dir := mount(namespace, "db")
		good := filesIn(dir)
		vault.Seal()
		time.Sleep(12 * time.Second) // more than one try
		vault.Unseal()
		Expect(warnings(Default, pod)).To(BeEmpty())
		Expect(filesIn(dir)).To(Equal(good))
	})
})
