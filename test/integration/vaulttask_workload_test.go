package integration

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A VaultTask that logs in as a service account of its namespace", func() {
	var (
		namespace, mount string
		proxy            *env.Proxy
		config           *v1alpha1.VaultConfig
		logins           = func() int { return vault.TokensFrom("auth/" + mount + "/login") }
	)

	BeforeEach(func() {
		namespace = newNamespace()
		mount = "kubernetes-" + namespace
		vault.EnableAuth(mount, "kubernetes")
		DeferCleanup(func() { vault.DisableAuth(mount) })
		vault.TrustCluster(ctx, cp, mount, "kubernetes")
		vault.Write("auth/"+mount+"/role/any", map[string]any{"bound_service_account_names": "*", "bound_service_account_namespaces": "*",
			"audience": "vault", "token_policies": "everything", "token_ttl": "1h"})
		var err error
		proxy, err = env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		config = vault.Config(namespace, "main", builder.WithURL(proxy.URL()), func(c *v1alpha1.VaultConfig) {
			c.Spec.AllowWrappedResults = new(true)
			c.Spec.Auth = v1alpha1.VaultAuth{Kubernetes: &v1alpha1.ServiceAccountAuth{
				Mount: v1alpha1.MountPath(mount), Role: "any", Workload: new(true), WorkloadScope: v1alpha1.WorkloadScopeAllowedNamespaces,
			}}
			c.Spec.AllowedNamespaces = []v1alpha1.NamespaceGrant{{
				Names: []v1alpha1.NamespaceName{"kube-system", env.Namespace}, PathPrefixes: []v1alpha1.PathPrefix{"secret"},
				TaskOperations: []v1alpha1.VaultTaskOperation{v1alpha1.OperationRead},
			}}
		})
		vault.PutKV("secret/data/"+namespace+"/web", map[string]any{"password": canary()})
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	task := func(in, account string, options ...func(*v1alpha1.VaultTask)) *v1alpha1.VaultTask {
		options = append(options, func(t *v1alpha1.VaultTask) {
			t.Spec.ServiceAccountName, t.Spec.VaultConfigRef.Namespace = account, namespace
		})
		t := builder.VaultTask(in, "of-"+namespace, v1alpha1.OperationRead, namespace+"/web", options...)
		create(t)
		DeferCleanup(func() { _ = cp.Client.Delete(ctx, t) })
		return t
	}

	// The API server refuses, whatever the VaultConfig, Vault's role and the task's author have: the service account may
	// be one that the whole cluster obeys.
	DescribeTable("gets no token in a system namespace", func(system string) {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: namespace}}
		create(account)
		DeferCleanup(func() { Expect(cp.Client.Delete(ctx, account)).To(Succeed()) })
		t := task(system, account.Name)
		expectCondition(t, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec, And(
			ContainSubstring("the admission policy sallyport-token-requests allows Sallyport no token of service account "+system+"/"+account.Name),
			ContainSubstring("take a service account of no system namespace")))
		Expect(t.Status.Claim).To(BeNil())
		Expect(logins()).To(BeZero())
		Expect(proxy.Counts()).NotTo(HaveKey("POST auth/" + mount + "/login"))
	},
		Entry("of Kubernetes", "kube-system"),
		Entry("of Sallyport", env.Namespace),
	)

	It("shows neither the token that is made for it nor Vault's, and its wrapped result outlives both", func() {
		create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"}})
		var made, given int
		proxy.Observe(func(r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, mount+"/login") {
				return
			}
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			login := struct{ JWT string }{}
			if json.Unmarshal(body, &login) == nil && login.JWT != "" {
				remember(login.JWT)
				made++
			}
		})
		proxy.Inject(env.Fault{Path: "auth/" + mount + "/login", Rewrite: func(body []byte) []byte {
			answer := struct {
				Auth struct {
					ClientToken string `json:"client_token"`
					Accessor    string `json:"accessor"`
				} `json:"auth"`
			}{}
			if json.Unmarshal(body, &answer) == nil && answer.Auth.ClientToken != "" {
				remember(answer.Auth.ClientToken)
				remember(answer.Auth.Accessor)
				given++
			}
			return body
		}})
		t := task(namespace, "web", func(t *v1alpha1.VaultTask) {
			t.Spec.Result = &v1alpha1.TaskResultRequest{Wrap: &v1alpha1.WrapRequest{TTL: &metav1.Duration{Duration: 600e9}}}
		})
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect([]int{made, given}).To(Equal([]int{1, 1}), "what may appear nowhere was seen here, for AfterSuite to look for")

		Eventually(logins).Should(BeZero(), "the token that wrapped it is revoked")
		unwrapped, err := vault.Client().Logical().UnwrapWithContext(ctx, t.Status.Result.Wrapped.Token)
		Expect(err).NotTo(HaveOccurred(), "no wrapping token is a child of the token that asked for it")
		Expect(unwrapped.Data).To(HaveKey("password"))
	})
})
