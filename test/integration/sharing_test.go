package integration

import (
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

var _ = Describe("A VaultConfig that other namespaces may use", func() {
	var (
		platform, shop string
		config         *v1alpha1.VaultConfig
	)

	BeforeEach(func() {
		platform, shop = newNamespace(), newNamespace()
		readyConfig(platform)
		config = vault.Config(platform, "main")
	})

	// shared is a Connection of namespace shop to a secret by the VaultConfig of namespace platform.
	shared := func(name, path string, mutate ...func(*v1alpha1.VaultSecret)) *v1alpha1.Connection {
		return builder.Connection(shop, name, map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(path), func(c *v1alpha1.Connection) {
			c.Spec.VaultSecrets[0].VaultConfigRef.Namespace = platform
			for _, m := range mutate {
				m(&c.Spec.VaultSecrets[0])
			}
		})
	}
	put := func(path string) string {
		value := canary()
		vault.PutKV(path, map[string]any{"password": value})
		return value
	}
	allow := func(grants ...v1alpha1.NamespaceGrant) {
		GinkgoHelper()
		update(config, func(c *v1alpha1.VaultConfig) { c.Spec.AllowedNamespaces = grants })
	}
	team := v1alpha1.PathPrefix("secret/team-{{namespace}}")

	It("is used for the paths that it allows, and for no others", func() {
		a := newCaller(replica)
		value := put("secret/data/team-" + shop + "/db")
		put("secret/data/team-" + platform + "/db")
		mine, theirs := shared("mine", "team-"+shop+"/db"), shared("theirs", "team-"+platform+"/db")
		nowhere := shared("nowhere", "team-"+shop+"/db", func(s *v1alpha1.VaultSecret) { s.VaultConfigRef.Name = "none" })
		create(mine, theirs, nowhere)

		By("telling nobody who may not use it that it exists")
		stranger := expectCondition(mine, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed)
		absent := expectCondition(nowhere, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed)
		neutral := strings.NewReplacer(shop+"/mine", "C", shop+"/nowhere", "C", platform+"/none", "V", platform+"/main", "V")
		Expect(neutral.Replace(stranger)).To(Equal(neutral.Replace(absent)))
		pod := newPod(shop, map[string]string{"connection": "mine"})
		_, err := a.mount(pod)
		expectFault(err, v1alpha1.ReasonNamespaceNotAllowed, "does not exist, or may not be used from namespace "+shop)

		By("waking the Connections when that changes")
		allow(v1alpha1.NamespaceGrant{Names: []v1alpha1.NamespaceName{v1alpha1.NamespaceName(shop)}, PathPrefixes: []v1alpha1.PathPrefix{team}})
		expectCondition(mine, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		expectCondition(theirs, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed, ContainSubstring(
			"VaultConfig "+platform+"/main may not be used from namespace "+shop+" for secret/data/team-"+platform+"/db: it allows what lies below secret/team-"+shop))
		answer, err := a.mount(pod)
		Expect(err).NotTo(HaveOccurred())
		Expect(files(answer)).To(HaveKeyWithValue("password", value))
		_, err = a.mount(newPod(shop, map[string]string{"connection": "theirs"}))
		expectFault(err, v1alpha1.ReasonNamespaceNotAllowed, "for secret/data/team-"+platform+"/db")

		By("whatever is said of the engine")
		for _, trick := range []*v1alpha1.Connection{
			shared("engine", "team-"+platform+"/db", func(s *v1alpha1.VaultSecret) { s.EnginePath, s.KVVersion = "secret/data", v1alpha1.KVVersion1 }),
			shared("version", "data/team-"+platform+"/db", func(s *v1alpha1.VaultSecret) { s.KVVersion = v1alpha1.KVVersion1 }),
			shared("up", "team-"+shop+"/../team-"+platform+"/db"),
			shared("escaped", "team-"+shop+"/%2e%2e/team-"+platform+"/db"),
		} {
			create(trick)
			_, err = mountEventually(a, newPod(shop, map[string]string{"connection": trick.Name}))
			Expect(err).To(HaveOccurred(), trick.Name)
			Expect(err).NotTo(MatchError(ContainSubstring("404")), "Vault was asked")
		}

		By("ending the use, also for volumes that are mounted, when it is withdrawn")
		allow()
		expectCondition(mine, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed)
		_, err = a.mount(pod, answer.GetRevision())
		expectFault(err, v1alpha1.ReasonNamespaceNotAllowed, "does not exist, or may not be used")
	})

	It("follows the labels of the namespaces that it selects", func() {
		put("secret/data/team-" + shop + "/db")
		c := shared("labelled", "team-"+shop+"/db")
		c.Spec.RefreshInterval = &metav1.Duration{Duration: time.Hour}
		create(c)
		selector := &v1alpha1.NamespaceSelector{MatchLabels: map[string]string{"vault": "shared"}}
		allow(v1alpha1.NamespaceGrant{Selector: selector, PathPrefixes: []v1alpha1.PathPrefix{team}})
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed)
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shop}}
		update(namespace, func(n *corev1.Namespace) { n.Labels["vault"] = "shared" })
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		update(namespace, func(n *corev1.Namespace) { delete(n.Labels, "vault") })
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed)
	})

	It("is used for the operations of VaultTasks that it allows, and for no others", func() {
		put("secret/data/team-" + shop + "/db")
		in := func(t *v1alpha1.VaultTask) { t.Spec.VaultConfigRef.Namespace = platform }
		read := builder.VaultTask(shop, "read", v1alpha1.OperationRead, "team-"+shop+"/db", in)
		write := builder.VaultTask(shop, "write", v1alpha1.OperationWrite, "team-"+shop+"/db", in, builder.WithData(map[string]v1alpha1.TaskValue{"password": "x"}))
		allow(v1alpha1.NamespaceGrant{
			Names: []v1alpha1.NamespaceName{v1alpha1.NamespaceName(shop)}, PathPrefixes: []v1alpha1.PathPrefix{team},
			TaskOperations: []v1alpha1.VaultTaskOperation{v1alpha1.OperationRead},
		})
		create(read, write)
		expectCondition(read, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		expectCondition(write, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed, ContainSubstring(
			"for operation Write on secret/data/team-"+shop+"/db: it allows Read there"))
	})

	DescribeTable("is refused at admission where its grants",
		func(message string, grant v1alpha1.NamespaceGrant) {
			bad := vault.Config(shop, "bad", func(c *v1alpha1.VaultConfig) { c.Spec.AllowedNamespaces = []v1alpha1.NamespaceGrant{grant} })
			Expect(cp.Client.Create(ctx, bad)).To(MatchError(ContainSubstring(message)))
		},
		Entry("name nobody", "set exactly one of names and selector", v1alpha1.NamespaceGrant{PathPrefixes: []v1alpha1.PathPrefix{"secret"}}),
		Entry("name a pattern", "for all of them (selector: {}), use selector",
			v1alpha1.NamespaceGrant{Names: []v1alpha1.NamespaceName{"*"}, PathPrefixes: []v1alpha1.PathPrefix{"secret"}}),
		Entry("name no path", "pathPrefixes: Required value", v1alpha1.NamespaceGrant{Names: []v1alpha1.NamespaceName{"a"}}),
		Entry("have a wildcard", "a path prefix is taken literally",
			v1alpha1.NamespaceGrant{Names: []v1alpha1.NamespaceName{"a"}, PathPrefixes: []v1alpha1.PathPrefix{"secret/team-*"}}),
		Entry("have a part that stands for any", "a path prefix is taken literally",
			v1alpha1.NamespaceGrant{Names: []v1alpha1.NamespaceName{"a"}, PathPrefixes: []v1alpha1.PathPrefix{"secret/+/db"}}),
		Entry("have another placeholder", "a path prefix is taken literally",
			v1alpha1.NamespaceGrant{Names: []v1alpha1.NamespaceName{"a"}, PathPrefixes: []v1alpha1.PathPrefix{"secret/{{name}}"}}),
		Entry("have dots", "without empty parts and dots",
			v1alpha1.NamespaceGrant{Names: []v1alpha1.NamespaceName{"a"}, PathPrefixes: []v1alpha1.PathPrefix{"secret/../a"}}),
		Entry("have an unknown operator", "operator is In or NotIn with values", v1alpha1.NamespaceGrant{
			Selector: &v1alpha1.NamespaceSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}, PathPrefixes: []v1alpha1.PathPrefix{"secret"},
		}),
	)
})
