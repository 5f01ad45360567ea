package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// imageVolumeSample reads config/samples/deployment-environment-image.yaml for the tenant, as it stands but for the image
// of the program, which a node without a registry does not have.
func (t *tenant) imageVolumeSample() *appsv1.Deployment {
	GinkgoHelper()
	content, err := os.ReadFile(filepath.Join(paths.checkout, "config/samples/deployment-environment-image.yaml"))
	Expect(err).NotTo(HaveOccurred())
	deployment := &appsv1.Deployment{}
	Expect(yaml.UnmarshalStrict(content, deployment)).To(Succeed())
	deployment.Namespace = t.namespace
	app := &deployment.Spec.Template.Spec.Containers[0]
	Expect(app.Image).To(HavePrefix("busybox:"))
	app.Image = demoImage
	return deployment
}

// Only a run with CONTAINERD=2 has it, as hack/test.sh imagevolume is one: not every machine's containerd mounts images.
var _ = func() bool {
	if os.Getenv("CONTAINERD") == "" {
		return false
	}
	return Describe("sallyport-exec on a volume that is an image", func() {
		It("starts a program with the values of a Connection, as the sample has it: no init container, no root, nothing to write to", func(ctx SpecContext) {
			nodes := &corev1.NodeList{}
			Expect(api.List(ctx, nodes)).To(Succeed())
			Expect(nodes.Items).To(HaveEach(HaveField("Status.NodeInfo.ContainerRuntimeVersion", HavePrefix("containerd://2."))))

			t := newReadyTenant(ctx)
			change(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: t.namespace}}, func(n *corev1.Namespace) {
				metav1.SetMetaDataLabel(&n.ObjectMeta, "pod-security.kubernetes.io/enforce", "restricted")
			})
			Eventually(ctx, func() error { return api.Create(ctx, t.pod("oracle"), client.DryRunAll) }).WithTimeout(soon).
				Should(MatchError(ContainSubstring(`violates PodSecurity "restricted`)))

			value := newSecret("in an environment, by way of an image")
			t.put(ctx, "oracle", map[string]any{"password": value})
			connection := t.connection("oracle", map[string]any{
				"host": "db.example.com", "user": "scott", "password": "vault.secret(password)",
			}, t.secretAt("oracle"))
			create(ctx, connection)
			expectReady(ctx, connection)
			w := workload{Object: t.imageVolumeSample(), replicas: 1}
			create(ctx, w.Object)
			w.expectSettled(ctx, 1)
			pod := w.pods(ctx)[0]
			Expect(pod.Spec.InitContainers).To(BeEmpty())

			expectStarted := func() {
				GinkgoHelper()
				Eventually(func() bool {
					return slices.ContainsFunc(programs(pod), func(p program) bool {
						return p.name == "sh" && slices.Contains(p.environment, "PASSWORD="+value)
					})
				}).WithTimeout(eventual).Should(BeTrue())
			}
			expectStarted()
			Expect(logOf(ctx, pod)).To(ContainElement("I log in to db.example.com as scott\n"))
			options := map[string]string{}
			for _, m := range mountsOf(strconv.Itoa(process(pod))) {
				options[m.point] = m.options
			}
			Expect(options).To(HaveKeyWithValue("/", HavePrefix("ro,")))
			Expect(options).To(HaveKeyWithValue(programVolume, And(HavePrefix("ro,"), Not(ContainSubstring("noexec")))))

			value = newSecret("in an environment, by way of an image, after a change")
			t.put(ctx, "oracle", map[string]any{"password": value})
			expectStarted()
			Expect(api.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
			Expect(statusOf(pod, "bookshop").RestartCount).To(BeZero())
			Expect(strings.Join(logOf(ctx, pod), "")).To(ContainSubstring("values have changed"))
			Expect(kept("in an environment, by way of an image", value)).To(BeEmpty())
		}, SpecTimeout(4*eventual))
	})
}()
