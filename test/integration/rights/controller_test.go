package rights

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var _ = Describe("A token that the controller's service account asks for", func() {
	var namespace string

	account := func(namespace string) {
		GinkgoHelper()
		Expect(client.IgnoreAlreadyExists(cp.Client.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "app"}}))).To(Succeed())
	}
	request := func(namespace string, mutate ...func(*authenticationv1.TokenRequestSpec)) error {
		GinkgoHelper()
		clients, err := kubernetes.NewForConfig(cp.As(controllerUser, ""))
		Expect(err).NotTo(HaveOccurred())
		spec := authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}, ExpirationSeconds: new(int64(600))}
		for _, m := range mutate {
			m(&spec)
		}
		_, err = clients.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "app", &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
		return err
	}
	forAudiences := func(audiences ...string) func(*authenticationv1.TokenRequestSpec) {
		return func(s *authenticationv1.TokenRequestSpec) { s.Audiences = audiences }
	}
	refused := func(err error, sentence string) {
		GinkgoHelper()
		Expect(err).To(MatchError(ContainSubstring(sentence)))
		Expect(apierrors.IsForbidden(err)).To(BeTrue())
	}

	BeforeEach(func() {
		namespace = newNamespace()
		account(namespace)
	})

	It("is made for a login: an audience of Vault's, ten minutes", func() {
		for _, audience := range []string{"vault", "https://vault.example.com:8200", "Vault-Production", "openbao"} {
			Expect(request(namespace, forAudiences(audience))).To(Succeed(), audience)
		}
	})

	It("is refused for the API server, however it is asked for", func() {
		// The API server of this suite has an address as its issuer, which no list could know.
		refused(request(namespace, forAudiences()), "may make no token for the audience https://")
		review, err := cp.Clients.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "app", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		Expect(err).NotTo(HaveOccurred(), "anybody else may")
		for _, audience := range append(review.Spec.Audiences, "https://kubernetes.default.svc.cluster.local", "https://kubernetes.default.svc",
			"kubernetes.default.svc?vault", "api", "https://container.googleapis.com/v1/projects/x", "https://oidc.eks.eu-west-1.amazonaws.com/id/X") {
			refused(request(namespace, forAudiences(audience)), "may make no token for the audience")
			refused(request(namespace, forAudiences("vault", audience)), "may make no token for the audience vault, ")
		}
	})

	It("is refused for Sallyport itself", func() {
		for _, audience := range []string{"sallyport.dev", "sallyport.dev/node", "SALLYPORT.DEV/vault"} {
			refused(request(namespace, forAudiences(audience)), "may make no token for the audience")
		}
	})

	It("is refused in system namespaces, whatever it is for", func() {
		for _, system := range []string{"kube-system", "kube-public", "sallyport-system"} {
			account(system)
			refused(request(system), "may make no token of a service account in the system namespace "+system)
		}
	})

	It("is refused for longer, and bound to an object", func() {
		refused(request(namespace, func(s *authenticationv1.TokenRequestSpec) { s.ExpirationSeconds = new(int64(3600)) }), "ten minutes at most")
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "app"},
			Spec:       corev1.PodSpec{ServiceAccountName: "app", Containers: []corev1.Container{{Name: "app", Image: "app"}}},
		}
		create(pod)
		refused(request(namespace, func(s *authenticationv1.TokenRequestSpec) {
			s.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "app", UID: pod.UID}
		}), "not bound to an object")
	})
})

var _ = Describe("A workload that the controller's service account writes", func() {
	meta := func(annotations map[string]string) metav1.ObjectMeta {
		GinkgoHelper()
		return metav1.ObjectMeta{
			Namespace: newNamespace(), Name: "app", Annotations: annotations, Labels: map[string]string{"team": "shop"}, Finalizers: []string{"example.com/kept"},
		}
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "app"}}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "app"}, Annotations: map[string]string{"example.com/a": "b"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	deployment := func(annotations map[string]string) client.Object {
		GinkgoHelper()
		d := &appsv1.Deployment{ObjectMeta: meta(annotations), Spec: appsv1.DeploymentSpec{Replicas: new(int32(1)), Selector: selector, Template: template}}
		create(d)
		return d
	}
	patch := func(workload client.Object, body string) error {
		return as(controllerUser).Patch(ctx, workload, client.RawPatch(types.MergePatchType, []byte(body)))
	}
	asks := map[string]string{"sallyport.dev/restart-on-change": "true", "example.com/operator": "on"}

	const all = `{"metadata":{"annotations":{"sallyport.dev/seen":"x","sallyport.dev/restarted-at":"x"}},
		"spec":{"template":{"metadata":{"annotations":{"sallyport.dev/restarted-for":"x"}}}}}`

	It("gets three annotations, if it asks for that", func() {
		stateful := &appsv1.StatefulSet{ObjectMeta: meta(asks), Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template}}
		daemon := &appsv1.DaemonSet{ObjectMeta: meta(asks), Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}}
		create(stateful, daemon)
		for _, workload := range []client.Object{deployment(asks), stateful, daemon} {
			Expect(patch(workload, all)).To(Succeed())
		}
		Expect(patch(deployment(nil), all)).To(MatchError(ContainSubstring("may roll only workloads with the annotation")))

		By("and no number that the API server counts")
		Expect(patch(daemon, `{"metadata":{"annotations":{"deprecated.daemonset.template.generation":"77"}}}`)).To(Succeed())
		Expect(daemon.Annotations).To(HaveKeyWithValue("deprecated.daemonset.template.generation", "2"))
	})

	It("asks by its namespace's label, unless it says otherwise", func() {
		labelled := func(workload client.Object, value string) client.Object {
			GinkgoHelper()
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: workload.GetNamespace()}}
			patch := `{"metadata":{"labels":{"sallyport.dev/restart-on-change":"` + value + `"}}}`
			Expect(cp.Client.Patch(ctx, namespace, client.RawPatch(types.MergePatchType, []byte(patch)))).To(Succeed())
			return workload
		}
		silent := labelled(deployment(nil), "true")
		Eventually(func() error { return patch(silent, all) }).Should(Succeed(), "the API server watches namespaces, too")
		Expect(patch(silent, `{"spec":{"replicas":0}}`)).To(MatchError(ContainSubstring(outsideTemplate)))
		out := labelled(deployment(map[string]string{"sallyport.dev/restart-on-change": "false"}), "true")
		Consistently(func() error { return patch(out, all) }, "1s").Should(MatchError(ContainSubstring("may roll only workloads")))
		Expect(patch(labelled(deployment(nil), "false"), all)).To(MatchError(ContainSubstring("may roll only workloads")))
	})

	DescribeTable("keeps everything else", func(body, sentence string) {
		err := patch(deployment(asks), body)
		Expect(err).To(MatchError(ContainSubstring(sentence)))
		Expect(apierrors.IsForbidden(err)).To(BeTrue())
	},
		Entry("the wish to be rolled", `{"metadata":{"annotations":{"sallyport.dev/restart-on-change":null}}}`, outsideTemplate),
		Entry("how often it wants to be", `{"metadata":{"annotations":{"sallyport.dev/restart-min-interval":"0s"}}}`, outsideTemplate),
		Entry("annotations that other operators read", `{"metadata":{"annotations":{"example.com/operator":"off"}}}`, outsideTemplate),
		Entry("annotations that it did not have", `{"metadata":{"annotations":{"example.com/other":"on"}}}`, outsideTemplate),
		Entry("labels", `{"metadata":{"labels":{"team":"mine"}}}`, outsideTemplate),
		Entry("finalizers", `{"metadata":{"finalizers":null}}`, outsideTemplate),
		Entry("owners", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"x"}]}}`, outsideTemplate),
		Entry("the number of pods", `{"spec":{"replicas":0}}`, outsideTemplate),
		Entry("the way it is rolled", `{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}`, outsideTemplate),
		Entry("whether it is paused", `{"spec":{"paused":true}}`, outsideTemplate),
		Entry("its history", `{"spec":{"revisionHistoryLimit":0}}`, outsideTemplate),
		Entry("labels of the pods", `{"spec":{"template":{"metadata":{"labels":{"more":"x"}}}}}`, insideTemplate),
		Entry("annotations of the pods", `{"spec":{"template":{"metadata":{"annotations":{"example.com/a":null}}}}}`, insideTemplate),
		Entry("the service account of the pods", `{"spec":{"template":{"spec":{"serviceAccountName":"admin"}}}}`, insideTemplate),
		Entry("what they run", `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"evil"}]}}}}`, insideTemplate),
	)
})

const (
	outsideTemplate = "may change nothing of a workload beside its pod template but the annotations sallyport.dev/seen and sallyport.dev/restarted-at"
	insideTemplate  = "may change nothing in a pod template but the annotation sallyport.dev/restarted-for"
)
