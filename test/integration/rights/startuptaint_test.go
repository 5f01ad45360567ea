package rights

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("config/startup-taint", Ordered, func() {
	var plugin client.Client // the node plugin on the node "own"
	other := corev1.Taint{Key: "example.com/dedicated", Effect: corev1.TaintEffectNoSchedule}
	ours := corev1.Taint{Key: v1alpha1.StartupTaint, Effect: corev1.TaintEffectNoSchedule}

	// Once for all specs: a policy that is made again under its name may be taken for the one that was there before.
	BeforeAll(func() {
		for _, file := range []string{"rbac.yaml", "policy.yaml"} {
			content, err := os.ReadFile(filepath.Join(root(), "config", "startup-taint", file))
			Expect(err).NotTo(HaveOccurred())
			for _, object := range decoded(string(content)) {
				create(object)
				DeferCleanup(func() { Expect(cp.Client.Delete(ctx, object)).To(Succeed()) })
			}
		}
		var err error
		config := cp.As("system:serviceaccount:"+env.Namespace+":sallyport-node", "")
		config.Impersonate = rest.ImpersonationConfig{
			UserName: config.Impersonate.UserName, Groups: config.Impersonate.Groups,
			Extra: map[string][]string{"authentication.kubernetes.io/node-name": {"own"}},
		}
		plugin, err = client.New(config, client.Options{Scheme: cp.Scheme})
		Expect(err).NotTo(HaveOccurred())
	})

	BeforeEach(func() {
		for _, name := range []string{"own", "another"} {
			node := &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"zone": "a"}},
				Spec:       corev1.NodeSpec{Taints: []corev1.Taint{ours, other}},
			}
			create(node)
			DeferCleanup(func() { Expect(cp.Client.Delete(ctx, node)).To(Succeed()) })
		}
		Eventually(func() error { return change(plugin, "another", func(n *corev1.Node) { n.Spec.Unschedulable = true }) }).
			Should(MatchError(ContainSubstring("may change its own Node only")), "until the API server enforces the policy")
	})

	// off takes the taint off; the API server has added one of its own.
	off := func(n *corev1.Node) {
		n.Spec.Taints = slices.DeleteFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == v1alpha1.StartupTaint })
	}

	It("lets the node plugin take one taint off its own Node", func() {
		Expect(change(plugin, "own", off)).To(Succeed())
		Expect(change(plugin, "own", func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, ours) })).
			To(MatchError(ContainSubstring("may take csi.sallyport.dev/not-ready off, and change no other")), "and put it on")
	})

	It("lets it change nothing else", func() {
		for what, edit := range map[string]func(*corev1.Node){
			"taints, another": func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{ours} },
			"taints, all":     func(n *corev1.Node) { n.Spec.Taints = nil },
			"taints, effect":  func(n *corev1.Node) { n.Spec.Taints[0].Effect = corev1.TaintEffectPreferNoSchedule },
			"labels":          func(n *corev1.Node) { off(n); n.Labels["zone"] = "b" },
			"annotations":     func(n *corev1.Node) { off(n); n.Annotations = map[string]string{"a": "b"} },
			"finalizers":      func(n *corev1.Node) { off(n); n.Finalizers = []string{"example.com/f"} },
			"scheduling":      func(n *corev1.Node) { off(n); n.Spec.Unschedulable = true },
			"provider ID":     func(n *corev1.Node) { off(n); n.Spec.ProviderID = "x://y" },
		} {
			reason := "may change nothing of its Node but the taint"
			if strings.HasPrefix(what, "taints") {
				reason = "and change no other"
			}
			Expect(change(plugin, "own", edit)).To(MatchError(ContainSubstring(reason)), what)
		}
		Expect(change(plugin, "another", off)).To(MatchError(ContainSubstring("may change its own Node only")))
		Expect(apierrors.IsForbidden(plugin.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "own"}}))).To(BeTrue())
	})
})

// change patches a Node as a client.
func change(as client.Client, name string, edit func(*corev1.Node)) error {
	node := &corev1.Node{}
	if err := as.Get(ctx, client.ObjectKey{Name: name}, node); err != nil {
		return err
	}
	before := node.DeepCopy()
	edit(node)
	return as.Patch(ctx, node, client.MergeFrom(before))
}
