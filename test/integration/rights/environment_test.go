package rights

import (
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A pod that asks for the values of Connections in its environment", Ordered, func() {
	var (
		namespace  string
		controller *appsv1.Deployment
	)

	const image = "registry.example.com/sallyport@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

	BeforeAll(func() {
		namespace = newNamespace()
		labels := map[string]string{"app": "sallyport"}
		controller = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: env.Namespace, Name: "sallyport-controller"}, Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "controller", Image: image}}},
			},
		}}
		create(controller)
		DeferCleanup(func() { Expect(client.IgnoreNotFound(cp.Client.Delete(ctx, controller))).To(Succeed()) })
		content, err := os.ReadFile(filepath.Join("..", "..", "..", "config", "injection", "environment.yaml"))
		Expect(err).NotTo(HaveOccurred())
		for document := range strings.SplitSeq(string(content), "\n---\n") {
			policy := &unstructured.Unstructured{}
			Expect(yaml.Unmarshal([]byte(document), policy)).To(Succeed())
			create(policy)
			DeferCleanup(func() { Expect(cp.Client.Delete(ctx, policy)).To(Succeed()) })
		}
		// Policies are in force a moment after they were made.
		Eventually(func() error {
			return cp.Client.Create(ctx, pod(namespace, "x", func(p *corev1.Pod) { p.Spec.Containers[0].Command = nil }), client.DryRunAll)
		}).Should(MatchError(ContainSubstring("has no command")))
		Eventually(func(g Gomega) {
			p := pod(namespace, "x")
			g.Expect(cp.Client.Create(ctx, p, client.DryRunAll)).To(Succeed())
			g.Expect(p.Spec.InitContainers).NotTo(BeEmpty())
		}).Should(Succeed())
	})

	It("gets volumes, the program, and its command behind that", func() {
		p := pod(namespace, "db, CACHE_=cache", func(p *corev1.Pod) {
			p.Annotations["sallyport.dev/env-flags"] = "--upper  --on-change=restart"
			p.Spec.Containers[0].Args = []string{"--port=80"}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
			p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			p.Spec.InitContainers = []corev1.Container{{Name: "first", Image: "first"}}
		})
		Expect(cp.Client.Create(ctx, p)).To(Succeed())
		volume := func(connection string) *corev1.CSIVolumeSource {
			return &corev1.CSIVolumeSource{Driver: v1alpha1.DriverName, ReadOnly: new(true), VolumeAttributes: map[string]string{v1alpha1.AttributeConnection: connection}}
		}
		Expect(p.Spec.Volumes).To(Equal([]corev1.Volume{
			{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "sallyport-exec", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "sallyport-env-0", VolumeSource: corev1.VolumeSource{CSI: volume("db")}},
			{Name: "sallyport-env-1", VolumeSource: corev1.VolumeSource{CSI: volume("cache")}},
		}))
		Expect(p.Spec.InitContainers).To(HaveLen(2))
		first := p.Spec.InitContainers[0]
		Expect(first.Image).To(Equal(image))
		Expect(first.ImagePullPolicy).To(Equal(corev1.PullIfNotPresent))
		Expect(first.Command).To(Equal([]string{"/sallyport-exec", "--install=/opt/sallyport/bin"}))
		app := p.Spec.Containers[0]
		Expect(app.Command).To(Equal([]string{
			"/opt/sallyport/bin/sallyport-exec", "--from=/opt/sallyport/env/db", "--from=CACHE_=/opt/sallyport/env/cache", "--upper", "--on-change=restart", "--", "server", "-v",
		}))
		Expect(app.Args).To(Equal([]string{"--port=80"}))
		Expect(app.VolumeMounts).To(Equal([]corev1.VolumeMount{
			{Name: "data", MountPath: "/data"},
			{Name: "sallyport-exec", MountPath: "/opt/sallyport/bin", ReadOnly: true},
			{Name: "sallyport-env-0", MountPath: "/opt/sallyport/env/db", ReadOnly: true},
			{Name: "sallyport-env-1", MountPath: "/opt/sallyport/env/cache", ReadOnly: true},
		}))

		By("being copied, which changes nothing more")
		again := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "again", Annotations: p.Annotations}, Spec: p.Spec}
		Expect(cp.Client.Create(ctx, again)).To(Succeed())
		Expect(again.Spec).To(Equal(p.Spec))
	})

	It("may choose containers; others are as they were, also without a command", func() {
		p := pod(namespace, "db", func(p *corev1.Pod) {
			p.Annotations["sallyport.dev/env-containers"] = "app"
			p.Spec.Containers = append([]corev1.Container{{Name: "proxy", Image: "proxy"}}, p.Spec.Containers...)
		})
		Expect(cp.Client.Create(ctx, p)).To(Succeed())
		Expect(p.Spec.Containers[0].Command).To(BeEmpty())
		Expect(p.Spec.Containers[0].VolumeMounts).To(BeEmpty())
		Expect(p.Spec.Containers[1].Command).To(HaveLen(5))
	})

	It("is left alone if it does not ask", func() {
		p := pod(namespace, "db", func(p *corev1.Pod) { p.Annotations = nil })
		spec := p.Spec.DeepCopy()
		Expect(cp.Client.Create(ctx, p)).To(Succeed())
		Expect(p.Spec.Containers[0].Command).To(Equal(spec.Containers[0].Command))
		Expect(p.Spec.InitContainers).To(BeEmpty())
	})

	It("is allowed in a namespace of the restricted PodSecurity", func() {
		restricted := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "restricted-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
		create(restricted)
		create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: restricted.Name, Name: "default"}})
		p := pod(restricted.Name, "db", func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
				RunAsNonRoot: new(true), AllowPrivilegeEscalation: new(false),
				Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			}
		})
		Expect(cp.Client.Create(ctx, p)).To(Succeed())
	})

	DescribeTable("is refused, in a sentence that says what to do,", func(env, sentence string, edits ...func(*corev1.Pod)) {
		Expect(cp.Client.Create(ctx, pod(namespace, env, edits...))).To(MatchError(ContainSubstring(sentence)))
	},
		Entry("with a container that has no command", "db", "container app has no command, and the image does not tell what it starts: write the image's entrypoint as spec.containers[].command",
			func(p *corev1.Pod) { p.Spec.Containers[0].Command = nil }),
		Entry("with nothing asked for", "", "annotation sallyport.dev/env: write the names of Connections, as in db,CACHE_=cache"),
		Entry("with a name that no Connection can have", "db,../x", "annotation sallyport.dev/env: write the names of Connections"),
		Entry("with a prefix that no variable can have", "1=db", "annotation sallyport.dev/env: write the names of Connections"),
		Entry("with a Connection twice", "db,DB_=db", "annotation sallyport.dev/env: each Connection may be there once"),
		Entry("with a container that is not there", "db", "annotation sallyport.dev/env-containers: there is no container web",
			func(p *corev1.Pod) { p.Annotations["sallyport.dev/env-containers"] = "app,web" }),
	)

	// The last: parameters of a policy are looked for before its conditions, for every pod of the cluster.
	It("is refused where the controllers' Deployment is gone, and nobody else is", func() {
		Expect(cp.Client.Delete(ctx, controller)).To(Succeed())
		Eventually(func() error { return cp.Client.Create(ctx, pod(namespace, "db"), client.DryRunAll) }).
			Should(MatchError(ContainSubstring("annotation sallyport.dev/env: nothing could be put into this pod")))
		Expect(cp.Client.Create(ctx, pod(namespace, "db", func(p *corev1.Pod) { p.Annotations = nil }))).To(Succeed())
	})
})

// pod asks for environment by the annotation.
func pod(namespace, environment string, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "pod-", Annotations: map[string]string{"sallyport.dev/env": environment}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: new(false),
			Containers:                   []corev1.Container{{Name: "app", Image: "app", Command: []string{"server", "-v"}}},
		},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}
