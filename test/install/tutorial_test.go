package install

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const (
	soon    = 30 * time.Second
	patient = 3 * time.Minute // the kubelet's pauses grow to two minutes
	often   = time.Second
)

// follow does what a section says. What transcripts show must come to be: every line of theirs is printed, in their
// order.
func follow(ctx context.Context, s section) {
	GinkgoHelper()
	for _, b := range s.blocks {
		if b.commands != "" {
			run(ctx, b.commands)
		}
		for _, e := range b.transcript {
			var want []string
			for _, line := range e.output {
				want = append(want, shape(line))
			}
			Eventually(ctx, func(g Gomega) {
				output, err := try(ctx, e.command)
				g.Expect(err).NotTo(HaveOccurred(), output)
				var got []string
				for line := range strings.Lines(output) {
					got = append(got, shape(line))
				}
				g.Expect(got).To(Equal(want), "%s\n%s", e.command, output)
			}, soon, often).Should(Succeed())
		}
	}
}

// expectApplied wants what the tutorial shows to be what was applied: an object, or volumes of the Deployment.
func expectApplied(ctx context.Context, manifest string) {
	GinkgoHelper()
	if strings.HasPrefix(manifest, "apiVersion:") {
		run(ctx, "kubectl -n bookshop diff --filename - <<'EOF'\n"+manifest+"EOF")
		return
	}
	var shown, applied struct {
		Volumes []corev1.Volume `json:"volumes"`
	}
	Expect(yaml.UnmarshalStrict([]byte(manifest), &shown)).To(Succeed())
	found := run(ctx, "kubectl -n bookshop get deployment bookshop --output=jsonpath='{.spec.template.spec}'")
	Expect(yaml.Unmarshal([]byte(found), &applied)).To(Succeed())
	Expect(shown.Volumes).NotTo(BeEmpty())
	for _, volume := range shown.Volumes {
		Expect(applied.Volumes).To(ContainElement(volume))
	}
}

// before is what a section takes for granted.
var before = map[string]string{
	// "What Vault needs stands at the head" of connection-database.yaml.
	"9. Dynamic secrets": `vault secrets enable database
		{ vault policy read bookshop
		  sed -nE 's/^#   (path )/\1/p' config/samples/connection-database.yaml; } | vault policy write bookshop -
		kubectl -n bookshop apply -f config/samples/connection-database.yaml`,
}

const readPassword = "kubectl -n bookshop exec deployment/bookshop -- cat /connections/oracle/password"

var _ = Describe("a user", Ordered, ContinueOnFailure, func() {
	const cleanUp = "11. Clean up"
	for _, s := range sections("README.md") {
		if s.title[0] < '0' || s.title[0] > '9' || s.title == cleanUp {
			continue
		}
		It("follows the tutorial: "+s.title, func(ctx SpecContext) {
			run(ctx, before[s.title])
			follow(ctx, s)
			for _, manifest := range s.manifests {
				expectApplied(ctx, manifest)
			}
		}, SpecTimeout(patient))
	}

	// identity changes when a pod is another, or its container another.
	identity := func(ctx context.Context) string {
		GinkgoHelper()
		return run(ctx, `kubectl -n bookshop get pods --selector=app=bookshop \
			--output=jsonpath='{range .items[*]}{.metadata.uid}{.status.containerStatuses[*].containerID}{"\n"}{end}'`)
	}
	// expectRefreshed changes the password in Vault and wants it in the pod.
	expectRefreshed := func(ctx context.Context, password string) {
		GinkgoHelper()
		run(ctx, "vault kv patch secret/bookshop/oracle password="+password)
		Eventually(ctx, func(g Gomega) {
			g.Expect(try(ctx, readPassword)).To(Equal(password))
		}, 2*patient, often).Should(Succeed())
	}
	const installation = `kubectl -n sallyport-system rollout status deployment/sallyport-controller --timeout=120s
		kubectl -n sallyport-system rollout status daemonset/sallyport-node --timeout=120s`

	It("upgrades with other values, which no pod notices", func(ctx SpecContext) {
		pods := identity(ctx)
		run(ctx, withTitle("docs/install.md", "With Helm").blocks[1].commands)
		run(ctx, installation)
		Expect(run(ctx, "kubectl -n sallyport-system get daemonset sallyport-node --output=jsonpath={..args}")).
			To(ContainSubstring("--zap-log-level=debug"))
		expectRefreshed(ctx, "upgraded")
		Expect(identity(ctx)).To(Equal(pods))
	}, SpecTimeout(3*patient))

	It("upgrades to an image that does not exist, is told so, and has everything put back", func(ctx SpecContext) {
		pods := identity(ctx)
		output, err := try(ctx, `helm upgrade sallyport oci://registry.example.com/charts/sallyport \
			--namespace sallyport-system --reuse-values --set image.digest= --set image.tag=9.9.9 \
			--rollback-on-failure --timeout 30s`)
		Expect(err).To(HaveOccurred())
		Expect(output).To(ContainSubstring("sallyport-node"), "it says what did not become ready")
		Expect(run(ctx, "kubectl -n sallyport-system get events")).To(
			MatchRegexp(`Failed to pull image "registry.example.com/sallyport:9.9.9".*not found`))
		run(ctx, installation)
		Expect(run(ctx, "kubectl -n sallyport-system get pods --output=jsonpath={..image}")).NotTo(ContainSubstring("9.9.9"))
		expectRefreshed(ctx, "back")
		Expect(identity(ctx)).To(Equal(pods))
	}, SpecTimeout(3*patient))

	It("is told where the first is when he installs a second", func(ctx SpecContext) {
		output, err := try(ctx, `helm install second oci://registry.example.com/charts/sallyport \
			--namespace second --create-namespace`)
		Expect(err).To(HaveOccurred())
		Expect(output).To(ContainSubstring(
			"this cluster has a Sallyport already, the Helm release sallyport in namespace sallyport-system"))
	}, SpecTimeout(patient))

	It("uninstalls before the pods are gone, and finds the way out", func(ctx SpecContext) {
		run(ctx, "helm uninstall sallyport --namespace sallyport-system --wait")
		Expect(run(ctx, readPassword)).To(Equal("back"))
		run(ctx, "kubectl -n bookshop scale deployment/bookshop --replicas=0")
		const pods = "kubectl -n bookshop get pods --selector=app=bookshop"
		Eventually(ctx, func() (string, error) { return try(ctx, "kubectl -n bookshop get events") }, patient, often).
			Should(Or(ContainSubstring("not found in the list of registered CSI drivers"), ContainSubstring("Killing")))
		// What is shown of it is Completed, Error or Terminating, as its containers ended.
		Consistently(ctx, func() (string, error) {
			return try(ctx, pods+" --output=jsonpath='{.items[*].metadata.deletionTimestamp}'")
		}, 10*time.Second, often).ShouldNot(BeEmpty())
		follow(ctx, withTitle("docs/install.md", "Uninstalled too early"))
		Eventually(ctx, func() (string, error) { return try(ctx, pods) }, 2*patient, often).
			Should(ContainSubstring("No resources found"))
	}, SpecTimeout(4*patient))

	It("keeps what is privileged in another namespace, and pods off a node without the driver", func(ctx SpecContext) {
		run(ctx, `helm uninstall sallyport --namespace sallyport-system --wait
			kubectl label namespace sallyport-system pod-security.kubernetes.io/enforce=restricted
			kubectl taint node sallyport-node csi.sallyport.dev/not-ready=:NoSchedule
			helm install sallyport oci://registry.example.com/charts/sallyport --namespace sallyport-system --wait \
			--set node.namespace=sallyport-node --set node.removeStartupTaint=true \
			--set-json 'controller.tolerations=[{"operator":"Exists"}]'
			kubectl -n bookshop scale deployment/bookshop --replicas=1
			kubectl -n bookshop rollout status deployment/bookshop --timeout=60s`)
		Expect(run(ctx, "kubectl get node sallyport-node --output=jsonpath={.spec.taints}")).To(BeEmpty())
		Expect(run(ctx, "kubectl -n sallyport-node get pods --no-headers")).To(ContainSubstring("sallyport-node-"))
		Expect(run(ctx, "kubectl -n sallyport-system get pods --no-headers")).NotTo(ContainSubstring("sallyport-node-"))
		Expect(run(ctx, readPassword)).To(Equal("back"))
	}, SpecTimeout(patient))

	It("follows the tutorial: "+cleanUp, func(ctx SpecContext) {
		follow(ctx, withTitle("README.md", cleanUp))
		Expect(run(ctx, "kubectl get customresourcedefinitions --output=name")).
			To(ContainSubstring("connections.sallyport.dev"))
		Expect(run(ctx, "kubectl get csidrivers,clusterroles,validatingadmissionpolicies --output=name")).
			NotTo(ContainSubstring("sallyport"))
		Expect(run(ctx, "cat /proc/self/mountinfo")).NotTo(ContainSubstring("csi.sallyport.dev"))
	}, SpecTimeout(patient))
})
