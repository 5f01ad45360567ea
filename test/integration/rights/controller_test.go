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
	deployment := func(annotations map[string]string) *appsv1.Deployment {
		GinkgoHelper()
		d := &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: newNamespace(), Name: "app", Annotations: annotations, Labels: map[string]string{"team": "shop"}, Finalizers: []string{"example.com/kept"},
			},
			Spec: appsv1.DeploymentSpec{
				Replicas: new(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "app"}},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "app"}, Annotations: map[string]string{"example.com/a": "b"}},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
				},
			},
		}
		create(d)
		return d
	}
	patch := func(d *appsv1.Deployment, body string) error {
		return as(controllerUser).Patch(ctx, d.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(body)))
	}
	asks := map[string]string{"sallyport.dev/restart-on-change": "true", "example.com/operator": "on"}

	It("gets two annotations, if it asks for that", func() {
		both := `{"metadata":{"annotations":{"sallyport.dev/seen":"x"}},"spec":{"template":{"metadata":{"annotations":{"sallyport.dev/restarted-for":"x"}}}}}`
		Expect(patch(deployment(asks), both)).To(Succeed())
		Expect(patch(deployment(nil), both)).To(MatchError(ContainSubstring("may roll only workloads with the annotation")))
	})

	DescribeTable("keeps everything else", func(body string) {
		err := patch(deployment(asks), body)
		Expect(err).To(MatchError(ContainSubstring("may change nothing of a workload but its annotation sallyport.dev/seen")))
		Expect(apierrors.IsForbidden(err)).To(BeTrue())
	},
		Entry("the wish to be rolled", `{"metadata":{"annotations":{"sallyport.dev/restart-on-change":null}}}`),
		Entry("annotations that other operators read", `{"metadata":{"annotations":{"example.com/operator":"off"}}}`),
		Entry("annotations that it did not have", `{"metadata":{"annotations":{"example.com/other":"on"}}}`),
		Entry("labels", `{"metadata":{"labels":{"team":"mine"}}}`),
		Entry("finalizers", `{"metadata":{"finalizers":null}}`),
		Entry("owners", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"x"}]}}`),
		Entry("the number of pods", `{"spec":{"replicas":0}}`),
		Entry("the way it is rolled", `{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}`),
		Entry("whether it is paused", `{"spec":{"paused":true}}`),
		Entry("its history", `{"spec":{"revisionHistoryLimit":0}}`),
		Entry("labels of the pods", `{"spec":{"template":{"metadata":{"labels":{"more":"x"}}}}}`),
		Entry("annotations of the pods", `{"spec":{"template":{"metadata":{"annotations":{"example.com/a":null}}}}}`),
		Entry("the service account of the pods", `{"spec":{"template":{"spec":{"serviceAccountName":"admin"}}}}`),
		Entry("what they run", `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"evil"}]}}}}`),
	)
})
