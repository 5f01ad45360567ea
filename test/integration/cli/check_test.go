package cli

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/health"
	"sallyport.dev/sallyport/internal/cli/soundness"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// until creates an object, and deletes it when the spec ends.
func until(object client.Object) {
	GinkgoHelper()
	create(object)
	DeferCleanup(func() {
		Expect(client.IgnoreNotFound(cp.Client.Delete(ctx, object, client.GracePeriodSeconds(0)))).To(Succeed())
	})
}

// sound completes what install has to an installation as config/ makes it.
func sound() {
	GinkgoHelper()
	install(2, 2)
	// The replica of the suite has published itself under this name.
	pod := &corev1.Pod{}
	Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: env.Namespace, Name: "sallyport-controller-0"}, pod)).To(Succeed())
	pod.Labels = part("controller")
	Expect(cp.Client.Update(ctx, pod)).To(Succeed())
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	Expect(cp.Client.Status().Update(ctx, pod)).To(Succeed())
	DeferCleanup(func() {
		pod.Labels = nil
		Expect(cp.Client.Update(ctx, pod)).To(Succeed())
	})
	other := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: env.Namespace, Name: "sallyport-controller-x"}}
	Expect(cp.Client.Delete(ctx, other, client.GracePeriodSeconds(0))).To(Succeed())
	until(&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DriverName}, Spec: storagev1.CSIDriverSpec{
		PodInfoOnMount: new(true), RequiresRepublish: new(true), AttachRequired: new(false), ServiceAccountTokenInSecrets: new(true),
		TokenRequests: []storagev1.TokenRequest{{Audience: v1alpha1.AudiencePod}}, VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{"Ephemeral"},
	}})
	until(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "linux-1", Labels: map[string]string{corev1.LabelOSStable: "linux"}}})
	until(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "windows-1", Labels: map[string]string{corev1.LabelOSStable: "windows"}}})
	until(&storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "linux-1"}, Spec: storagev1.CSINodeSpec{
		Drivers: []storagev1.CSINodeDriver{{Name: v1alpha1.DriverName, NodeID: "linux-1"}},
	}})
	until(&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: env.Namespace, Name: "sallyport-controller"},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("sallyport-controller-0_x"), RenewTime: new(metav1.NowMicro()), LeaseDurationSeconds: new(int32(15))},
	})
}

// sick are the findings that are not well, Vaults of other specs left out.
func sick(findings []soundness.Finding) map[string]string {
	found := map[string]string{}
	for _, f := range findings {
		if f.Sick() && f.Subject != "Vaults" && !strings.HasPrefix(f.Subject, "Vault of ") {
			found[f.Subject] = f.Message
		}
	}
	return found
}

func check() map[string]string {
	GinkgoHelper()
	found, _ := decoded[list[soundness.Finding]]("check")
	return sick(found.Items)
}

var _ = Describe("kubectl sallyport check", Serial, func() {
	It("finds nothing wrong with an installation that is sound", func() {
		sound()
		found, _ := decoded[list[soundness.Finding]]("check")
		Expect(sick(found.Items)).To(BeEmpty())
		for _, f := range found.Items {
			Expect(f.State).NotTo(Equal(health.Unknown), f.Subject)
		}
		text := run("check").Out
		Expect(text).To(And(
			MatchRegexp(`(?m)^✔ +Kubernetes +v1\.\d+\.\d+`),
			MatchRegexp(`(?m)^✔ +Clock +`), MatchRegexp(`(?m)^✔ +Feature gates +`),
			MatchRegexp(fmt.Sprintf(`(?m)^✔ +Admission policies +all %d are there, and deny$`, len(soundness.Policies))),
			MatchRegexp(`(?m)^✔ +Controller +2 of 2 replicas are ready, of image app$`),
			MatchRegexp(`(?m)^✔ +Certificates +1 replicas are published$`),
			MatchRegexp(`(?m)^✔ +Nodes +the driver is registered on all 1$`),
			MatchRegexp(`(?m)^✔ +Rights +`), MatchRegexp(`(?m)^✔ +Leader +sallyport-controller-0$`)))
	})

	It("tells of how many Vaults' addresses how many are reached", func() {
		namespace := newNamespace()
		readyConfig(namespace)
		beyond := builder.VaultConfig(namespace, "beyond", builder.WithAddress("https://127.0.0.1:1", vault.CACertificate()))
		until(beyond)
		await(beyond, v1alpha1.ConditionReady, v1alpha1.ReasonVaultUnreachable)
		out := run("check").Out
		Expect(out).NotTo(MatchRegexp(`(?m)^✔ +Vaults `))
		counts := regexp.MustCompile(`VaultConfigs; of (\d+) addresses of Vaults, (\d+) are reached`).FindStringSubmatch(out)
		Expect(counts).To(HaveLen(3))
		asked, err := strconv.Atoi(counts[1])
		Expect(err).NotTo(HaveOccurred())
		Expect(strconv.Atoi(counts[2])).To(And(BeNumerically(">=", 1), BeNumerically("<", asked)))
	})

	It("names what is missing where nothing is installed but the kinds", func() {
		r := run("check")
		Expect(r.Code).To(Equal(1))
		found := check()
		Expect(found).To(And(HaveKey("Controller"), HaveKey("Node plugin"), HaveKey("CSIDriver"), HaveKey("Leader")))
	})

	DescribeTable("names each thing that is wrong", func(subject, sentence string, spoil func()) {
		sound()
		spoil()
		Expect(check()).To(HaveKeyWithValue(subject, ContainSubstring(sentence)))
		Expect(check()).To(HaveLen(1))
		Expect(run("check").Code).To(Equal(1))
	},
		Entry("a policy is missing", "Admission policy sallyport-sizes", "it does not exist, so that what it forbids is allowed", func() {
			removed(&admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "sallyport-sizes"}})
		}),
		Entry("a binding is missing", "Admission policy sallyport-sizes", "it has no binding", func() {
			removed(&admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "sallyport-sizes"}})
		}),
		Entry("a right is missing", "Rights of sallyport-node", "it may not get configmaps: apply config/rbac", func() {
			removed(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: env.Namespace, Name: "sallyport-node"}})
		}),
		Entry("the driver is not registered on a node", "Nodes", "the driver is not registered on 1 of 2 (linux-2)", func() {
			until(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "linux-2"}})
		}),
		Entry("the CSIDriver is another", "CSIDriver", "must have podInfoOnMount: true", func() {
			Expect(cp.Client.Delete(ctx, &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DriverName}})).To(Succeed())
			until(&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DriverName}, Spec: storagev1.CSIDriverSpec{
				PodInfoOnMount: new(false), RequiresRepublish: new(true), ServiceAccountTokenInSecrets: new(true),
				TokenRequests: []storagev1.TokenRequest{{Audience: v1alpha1.AudiencePod}},
			}})
		}),
		Entry("nobody leads", "Leader", "was last heard of 10m ago", func() {
			renewed(-10*time.Minute - 10*time.Second)
		}),
		Entry("a clock is ahead", "Leader", "the clock of sallyport-controller-0 is 10m ahead", func() {
			renewed(10*time.Minute + 50*time.Second) // of which this spec may take some
		}),
		Entry("nobody has ever led", "Leader", "no replica of the controller leads, so that nothing is reconciled", func() {
			lease := &coordinationv1.Lease{}
			Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: env.Namespace, Name: "sallyport-controller"}, lease)).To(Succeed())
			lease.Spec.HolderIdentity, lease.Spec.RenewTime = nil, nil
			Expect(cp.Client.Update(ctx, lease)).To(Succeed())
		}),
		Entry("a binding does not deny", "Admission policy sallyport-sizes", "its binding does not deny: apply config/admission", func() {
			binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
			act := func(action admissionregistrationv1.ValidationAction) {
				GinkgoHelper()
				Expect(cp.Client.Get(ctx, client.ObjectKey{Name: "sallyport-sizes"}, binding)).To(Succeed())
				binding.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{action}
				Expect(cp.Client.Update(ctx, binding)).To(Succeed())
			}
			act(admissionregistrationv1.Audit)
			DeferCleanup(act, admissionregistrationv1.Deny)
		}),
		Entry("replicas are not ready", "Controller", "1 of 2 replicas are ready, of image app; see the events and logs of its pods", func() {
			deployment := &appsv1.Deployment{}
			Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: env.Namespace, Name: "sallyport-controller"}, deployment)).To(Succeed())
			deployment.Status.ReadyReplicas = 1
			Expect(cp.Client.Status().Update(ctx, deployment)).To(Succeed())
		}),
		Entry("there are two of it", "Controller", "there are 2 Sallyports, and a cluster has one: remove the others", func() {
			other := &appsv1.Deployment{}
			Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: env.Namespace, Name: "sallyport-controller"}, other)).To(Succeed())
			status := other.Status
			other = &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Namespace: env.Namespace, Name: "sallyport-controller-other", Labels: part("controller")},
				Spec:       other.Spec,
			}
			until(other)
			other.Status = status
			Expect(cp.Client.Status().Update(ctx, other)).To(Succeed())
		}),
		Entry("the node plugin is not ready", "Node plugin", "1 of 2 pods are ready, of image app; see the events and logs of its pods", func() {
			set := &appsv1.DaemonSet{}
			Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: env.Namespace, Name: "sallyport-node"}, set)).To(Succeed())
			set.Status.NumberReady = 1
			Expect(cp.Client.Status().Update(ctx, set)).To(Succeed())
		}),
		Entry("the CSIDriver is not there", "CSIDriver", "csi.sallyport.dev does not exist: apply config/node", func() {
			Expect(cp.Client.Delete(ctx, &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DriverName}})).To(Succeed())
		}),
		Entry("the CSIDriver says nothing", "CSIDriver", "must have podInfoOnMount: true, requiresRepublish: true, a tokenRequest for the audience "+
			v1alpha1.AudiencePod+", serviceAccountTokenInSecrets: true, which this cluster knows: apply config/node", func() {
			Expect(cp.Client.Delete(ctx, &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DriverName}})).To(Succeed())
			until(&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DriverName}})
		}),
		Entry("the driver is registered on few of many nodes", "Nodes", "on 7 of 8 (linux-2, linux-3, linux-4, linux-5, linux-6 and 2 more)", func() {
			for n := 2; n <= 8; n++ {
				until(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("linux-%d", n)}})
			}
		}),
		Entry("a replica is not published", "Certificates", "replica stranger is ready and has published no certificate", func() {
			pod := builder.Pod(env.Namespace, "stranger")
			pod.Labels = part("controller")
			until(pod)
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			Expect(cp.Client.Status().Update(ctx, pod)).To(Succeed())
		}),
	)

	It("names a Vault that is not reached", func() {
		namespace := newNamespace()
		config := vault.Config(namespace, builder.ConfigName, builder.WithURL("https://127.0.0.1:1"))
		create(builder.TokenSecret(namespace, builder.TokenSecretName, "t"))
		until(config)
		await(config, v1alpha1.ConditionReady, v1alpha1.ReasonVaultUnreachable)
		Expect(run("check").Out).To(MatchRegexp(`(?m)^… +Vault of VaultConfig ` + namespace + `/main +VaultUnreachable: .*connection refused`))
	})

	It("says what one has no right to look at, and that is nothing wrong", func() {
		namespace := newNamespace()
		grant(namespace, "looker", "view")
		found, code := decoded[list[soundness.Finding]]("check", "-n", namespace, "--as", "looker")
		Expect(code).To(Equal(0))
		Expect(found.Items).To(ContainElement(And(HaveField("Subject", "Nodes"), HaveField("State", health.Unknown))))
	})
})

// removed takes away what config/ installed, until the spec ends; rights are gone, and there again, for the authorizer too.
func removed(object client.Object) {
	GinkgoHelper()
	Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
	Expect(cp.Client.Delete(ctx, object)).To(Succeed())
	DeferCleanup(func() {
		object.SetResourceVersion("")
		object.SetUID("")
		create(object)
		Expect(cp.AwaitRights(ctx)).To(Succeed())
	})
	Expect(cp.AwaitRights(ctx)).To(Succeed())
}

// renewed changes when the leader was last heard of.
func renewed(after time.Duration) {
	GinkgoHelper()
	lease := &coordinationv1.Lease{}
	Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: env.Namespace, Name: "sallyport-controller"}, lease)).To(Succeed())
	lease.Spec.RenewTime = new(metav1.NewMicroTime(time.Now().Add(after)))
	Expect(cp.Client.Update(ctx, lease)).To(Succeed())
}
