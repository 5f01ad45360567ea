package rights

import (
	"errors"
	"io"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// rendered returns the objects of an overlay.
func rendered(overlay string) []*unstructured.Unstructured {
	GinkgoHelper()
	return decoded(kubectl("kustomize", filepath.Join(root(), "config", overlay)))
}

func decoded(text string) []*unstructured.Unstructured {
	GinkgoHelper()
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		Expect(err).NotTo(HaveOccurred())
		objects = append(objects, object)
	}
}

// into returns an object of an overlay as a Go type.
func into[T any](object *unstructured.Unstructured) *T {
	GinkgoHelper()
	typed := new(T)
	Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed)).To(Succeed())
	return typed
}

var _ = Describe("config/without-secrets", Serial, func() {
	// What it says of rights replaces what config/rbac says, for the time of one spec.
	BeforeEach(func() {
		DeferCleanup(func() { Expect(cp.AwaitRights(ctx)).To(Succeed()) }) // for the specs that come
		for _, object := range rendered("without-secrets") {
			if object.GroupVersionKind().Group != rbacv1.GroupName {
				continue
			}
			before := &unstructured.Unstructured{}
			before.SetGroupVersionKind(object.GroupVersionKind())
			Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(object), before)).To(Succeed(), object.GetName())
			replace := func(with *unstructured.Unstructured) {
				GinkgoHelper()
				with = with.DeepCopy()
				with.SetResourceVersion("")
				Expect(cp.Client.Update(ctx, with)).To(Succeed())
			}
			replace(object)
			DeferCleanup(func() { replace(before) })
		}
		Expect(cp.AwaitRights(ctx)).To(Succeed())
		Expect(allowed("secrets", "", "get", "default", "any")).To(BeFalse())
	})

	It("gives no right to any Secret but the key of the leases", func() {
		namespace := newNamespace()
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete"} {
			for _, where := range []string{namespace, "kube-system", ""} {
				Expect(allowed("secrets", "", verb, where, "any")).To(BeFalse(), verb+" in "+where)
			}
			Expect(allowed("secrets", "", verb, env.Namespace, "any")).To(Equal(verb == "create"), verb)
			Expect(allowed("secrets", "", verb, env.Namespace, "sallyport-lease-key")).To(Equal(verb == "create" || verb == "get"), verb)
		}
		Expect(allowed("serviceaccounts", "token", "create", namespace, "app")).To(BeTrue())
	})

	It("is enough to log in as a service account, and says of a Secret what is missing", func() {
		vault, err := env.StartVault(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(vault.Close)
		namespace := newNamespace()
		vault.EnableAuth("kubernetes", "kubernetes")
		vault.TrustCluster(ctx, cp, "kubernetes", "kubernetes")
		vault.Policy("read", `path "secret/*" { capabilities = ["read"] }`)
		vault.Write("auth/kubernetes/role/app", map[string]any{"bound_service_account_names": "app", "bound_service_account_namespaces": namespace,
			"audience": "vault", "token_policies": "read", "token_ttl": "1h"})
		vault.PutKV("secret/data/db", map[string]any{"password": "canary"})
		controller, err := cp.StartController(ctx, "sallyport-controller-0", GinkgoLogr)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { Expect(controller.Stop()).To(Succeed()) })

		login := func(audience string) func(*v1alpha1.VaultConfig) {
			return builder.WithAuth(v1alpha1.VaultAuth{Kubernetes: &v1alpha1.ServiceAccountAuth{Role: "app", ServiceAccountName: "app", Audience: audience}})
		}
		fromConfigMap := func(c *v1alpha1.VaultConfig) {
			c.Spec.CACertificate = ""
			c.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "ca", Key: "ca.crt"}}
		}
		create(
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "app"}},
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ca"}, Data: map[string]string{"ca.crt": vault.CACertificate()}},
			builder.TokenSecret(namespace, "vault-token", "unread"),
		)
		main := vault.Config(namespace, "main", login(""), fromConfigMap)
		connection := builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret("db"))
		create(main, connection)
		expectReady(main, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")
		expectReady(connection, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "")

		By("and no Secret is read")
		token := vault.Config(namespace, "token")
		create(token)
		expectReady(token, metav1.ConditionFalse, v1alpha1.ReasonCredentialMissing, "Sallyport may not get Secret "+namespace+"/vault-token")

		By("and an audience that the policy does not know is told, with the cure")
		other := vault.Config(namespace, "other", login("elsewhere"))
		create(other)
		expectReady(other, metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec, `the admission policy sallyport-token-requests allows Sallyport no token of service account `+
			namespace+`/app for audience "elsewhere" (VaultConfig `+namespace+`/other, auth kubernetes role app); let spec.auth.kubernetes.audience and Vault's role have vault in their audience`)
	})
})

// allowed tells whether the controller's service account has a right.
func allowed(resource, subresource, verb, namespace, name string) bool {
	GinkgoHelper()
	review, err := cp.Clients.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: controllerUser, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + env.Namespace, "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Resource: resource, Subresource: subresource, Name: name},
	}}, metav1.CreateOptions{})
	Expect(err).NotTo(HaveOccurred())
	return review.Status.Allowed
}

// expectReady waits for what the condition Ready says of the current generation.
func expectReady(object client.Object, status metav1.ConditionStatus, reason, message string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
		var conditions []metav1.Condition
		switch o := object.(type) {
		case *v1alpha1.VaultConfig:
			conditions = o.Status.Conditions
		case *v1alpha1.Connection:
			conditions = o.Status.Conditions
		}
		ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
		g.Expect(ready).NotTo(BeNil())
		g.Expect([]any{ready.Status, ready.Reason}).To(Equal([]any{status, reason}), ready.Message)
		g.Expect(ready.Message).To(ContainSubstring(message))
	}).Should(Succeed())
}

var _ = Describe("config/default", func() {
	It("lets node plugins alone connect to the port that secrets leave by", func() {
		policies := map[string]*networkingv1.NetworkPolicy{}
		labels := map[string]map[string]string{}
		for _, object := range rendered("default") {
			switch object.GetKind() {
			case "NetworkPolicy":
				policies[object.GetName()] = into[networkingv1.NetworkPolicy](object)
				Expect(cp.Client.Create(ctx, object, client.DryRunAll)).To(Succeed(), "the API server knows all of it")
			case "Deployment", "DaemonSet":
				template, _, err := unstructured.NestedMap(object.Object, "spec", "template", "spec")
				Expect(err).NotTo(HaveOccurred())
				Expect(template).NotTo(HaveKey("hostNetwork"), "pods of the node's network are not what a podSelector selects")
				found, _, err := unstructured.NestedStringMap(object.Object, "spec", "template", "metadata", "labels")
				Expect(err).NotTo(HaveOccurred())
				labels[object.GetName()] = found
			}
		}
		controller, node := policies["sallyport-controller"], policies["sallyport-node"]
		Expect(controller.Spec.PodSelector.MatchLabels).To(Equal(labels["sallyport-controller"]))
		Expect(node.Spec.PodSelector.MatchLabels).To(Equal(labels["sallyport-node"]))
		for _, policy := range []*networkingv1.NetworkPolicy{controller, node} {
			Expect(policy.Namespace).To(Equal(env.Namespace))
			Expect(policy.Spec.Egress).To(Equal([]networkingv1.NetworkPolicyEgressRule{{}}), "nothing is said against what they connect to")
			for _, rule := range policy.Spec.Ingress {
				for _, port := range rule.Ports {
					if port.Port.IntValue() == 9443 {
						Expect(rule.From).To(HaveLen(1))
						Expect(rule.From[0].PodSelector.MatchLabels).To(Equal(labels["sallyport-node"]))
						Expect(rule.From[0].NamespaceSelector).To(BeNil(), "of this namespace")
					} else {
						Expect(port.Port.IntValue()).To(BeElementOf(8080, 8081))
						Expect(rule.From).To(BeEmpty(), "for kubelets and Prometheus, wherever they are")
					}
				}
			}
		}
	})

	It("may be used by restricted pods, on OpenShift as well", func() {
		for _, object := range rendered("default") {
			if object.GetKind() == "CSIDriver" {
				Expect(object.GetLabels()).To(And(
					HaveKeyWithValue("security.kubernetes.io/csi-ephemeral-volume-profile", "restricted"),
					HaveKeyWithValue("security.openshift.io/csi-ephemeral-volume-profile", "restricted")))
				return
			}
		}
		Fail("there is no CSIDriver")
	})
})
