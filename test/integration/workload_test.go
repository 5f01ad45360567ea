package integration

import (
	"fmt"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// mountAs is mount with tokens of the pod for other audiences, as the kubelet has them made.
func (c *caller) mountAs(pod *corev1.Pod, tokens map[string]string, revision string) (*resolverv1.ResolveResponse, error) {
	GinkgoHelper()
	return c.client.Resolve(ctx, &resolverv1.ResolveRequest{
		PodToken: podToken(pod, v1alpha1.AudiencePod), WorkloadTokens: tokens,
		VolumeAttributes: pod.Spec.Volumes[0].CSI.VolumeAttributes, Revision: revision,
	})
}

// mountAsEventually is mountEventually with such tokens.
func (c *caller) mountAsEventually(pod *corev1.Pod, tokens map[string]string) (*resolverv1.ResolveResponse, error) {
	GinkgoHelper()
	return untilKnown(func() (*resolverv1.ResolveResponse, error) { return c.mountAs(pod, tokens, "") })
}

func podToken(pod *corev1.Pod, audience string) string {
	GinkgoHelper()
	token, err := cp.PodToken(ctx, pod, audience)
	Expect(err).NotTo(HaveOccurred())
	remember(token)
	return token
}

var _ = Describe("A VaultConfig that logs in as the workload", func() {
	var (
		namespace, mount string
		config           *v1alpha1.VaultConfig
		caller           *caller
		logins           = func() int { return vault.TokensFrom("auth/" + mount + "/login") }
	)

	// Every service account may read what lies below its own name.
	BeforeEach(func() {
		namespace = newNamespace()
		mount = "kubernetes-" + namespace
		vault.EnableAuth(mount, "kubernetes")
		DeferCleanup(func() { vault.DisableAuth(mount) })
		vault.TrustCluster(ctx, cp, mount, "kubernetes")
		auths, err := vault.Client().Sys().ListAuth()
		Expect(err).NotTo(HaveOccurred())
		alias := "identity.entity.aliases." + auths[mount+"/"].Accessor + ".metadata."
		vault.Policy(mount, fmt.Sprintf(`path "secret/data/{{%[1]sservice_account_namespace}}/{{%[1]sservice_account_name}}" { capabilities = ["read"] }`, alias))
		vault.Write("auth/"+mount+"/role/any", map[string]any{"bound_service_account_names": "*", "bound_service_account_namespaces": namespace,
			"audience": "vault", "token_policies": mount, "token_ttl": "1h"})
		config = vault.Config(namespace, "main", func(c *v1alpha1.VaultConfig) {
			c.Spec.Auth = v1alpha1.VaultAuth{Kubernetes: &v1alpha1.ServiceAccountAuth{Mount: v1alpha1.MountPath(mount), Role: "any", Workload: new(true)}}
		})
		create(config)
		caller = newCaller(replica)
	})

	as := func(account string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.ServiceAccountName = account }
	}
	volume := map[string]string{v1alpha1.AttributeConnection: "db"}

	It("is Ready behind a front end that keeps sys/ to itself, if Vault answers at the path of logins", func() {
		front, err := env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(front.Close)
		front.Inject(env.Fault{Path: "sys/", Status: 403, Body: "<html>no</html>"})
		value := canary()
		vault.PutKV("secret/data/"+namespace+"/web", map[string]any{"password": value})
		update(config, func(c *v1alpha1.VaultConfig) { c.Spec.URL = front.URL() })
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded,
			And(ContainSubstring("answers at the path of logins"), ContainSubstring("does not let sys/health through")))
		Expect(config.Status.Vault).To(BeNil())
		create(builder.Connection(namespace, "web", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/web"),
			func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].KVVersion = v1alpha1.KVVersion2 }))
		pod := newPod(namespace, map[string]string{v1alpha1.AttributeConnection: "web"}, as("web"))
		tokens := map[string]string{"vault": podToken(pod, "vault")}
		Eventually(func(g Gomega) {
			response, err := caller.mountAs(pod, tokens, "")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(files(response)).To(HaveKeyWithValue("password", value))
		}).Should(Succeed())

		By("saying what is wrong where there is no such auth method")
		update(config, func(c *v1alpha1.VaultConfig) { c.Spec.Auth.Kubernetes.Mount = "none" })
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonVaultUnreachable, ContainSubstring("no auth method is mounted there"))
	})

	It("gives each pod what its own service account may read, for one login of each", func() {
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, ContainSubstring("each pod"))
		expectCondition(config, v1alpha1.ConditionAuthenticated, metav1.ConditionUnknown, v1alpha1.ReasonWorkloadIdentity)
		Expect(meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionRenewing)).To(BeNil())
		Expect(config.Status.Token).To(BeNil())
		Expect(config.Status.AuthMethod).To(Equal("kubernetes"))

		values := map[string]string{"web": canary(), "batch": canary()}
		for account, value := range values {
			vault.PutKV("secret/data/"+namespace+"/"+account, map[string]any{"password": value})
			create(builder.Connection(namespace, account, map[string]any{"password": "vault.secret(password)", "plain": "x"}, builder.WithSecret(namespace+"/"+account)))
		}
		web := &v1alpha1.Connection{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"}}
		expectCondition(web, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded,
			Equal("syntax and references are right; each pod reads with its own identity, so whether it may shows there (VaultConfig "+namespace+"/main)"))
		Expect(logins()).To(BeZero(), "nobody but a pod logs in")

		By("mounting in many pods at once")
		var group sync.WaitGroup
		for account, value := range values {
			for range 5 {
				pod := newPod(namespace, map[string]string{v1alpha1.AttributeConnection: account}, as(account))
				tokens := map[string]string{"vault": podToken(pod, "vault")}
				group.Go(func() {
					defer GinkgoRecover()
					response, err := caller.mountAs(pod, tokens, "")
					Expect(err).NotTo(HaveOccurred())
					Expect(files(response)).To(HaveKeyWithValue("password", value))
				})
			}
		}
		group.Wait()
		Expect(logins()).To(Equal(2))

		By("never giving one what another has just read")
		thief := newPod(namespace, map[string]string{v1alpha1.AttributeConnection: "web"}, as("batch"))
		_, err := caller.mountAs(thief, map[string]string{"vault": podToken(thief, "vault")}, "")
		expectFault(err, v1alpha1.ReasonPermissionDenied, "secret/data/"+namespace+"/web")

		By("refreshing")
		pod := newPod(namespace, map[string]string{v1alpha1.AttributeConnection: "web"}, as("web"))
		tokens := map[string]string{"vault": podToken(pod, "vault")}
		first, err := caller.mountAs(pod, tokens, "")
		Expect(err).NotTo(HaveOccurred())
		again, err := caller.mountAs(pod, tokens, first.GetRevision())
		Expect(err).NotTo(HaveOccurred())
		Expect(again.GetUnchanged()).To(BeTrue())
		_, err = caller.mountAs(thief, map[string]string{"vault": podToken(thief, "vault")}, first.GetRevision())
		expectFault(err, v1alpha1.ReasonPermissionDenied, "secret/data/"+namespace+"/web")
	})

	It("accepts only a token of the very pod, for the very audience", func() {
		vault.PutKV("secret/data/"+namespace+"/web", map[string]any{"password": canary()})
		create(builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/web")))
		pod, other := newPod(namespace, volume, as("web")), newPod(namespace, volume, as("web"))

		_, err := caller.mountAsEventually(pod, nil)
		expectFault(err, v1alpha1.ReasonCredentialMissing,
			"for the audience vault: add it to spec.tokenRequests of the CSIDriver csi.sallyport.dev, or correct the audience in the VaultConfig")
		_, err = caller.mountAs(pod, map[string]string{"vault": podToken(pod, "somebody-else")}, "")
		expectFault(err, v1alpha1.ReasonNotAllowed, "the pod's token for Vault is not valid for audience vault")
		_, err = caller.mountAs(pod, map[string]string{"vault": podToken(other, "vault")}, "")
		expectFault(err, v1alpha1.ReasonNotAllowed, "the token for Vault belongs to another pod")
		Expect(logins()).To(BeZero())
		_, err = caller.mountAs(pod, map[string]string{"vault": podToken(pod, "vault")}, "")
		Expect(err).NotTo(HaveOccurred())
	})

	It("says to a pod whose service account the role does not allow what cures it", func() {
		vault.Write("auth/"+mount+"/role/any", map[string]any{"bound_service_account_names": "nobody", "bound_service_account_namespaces": namespace, "audience": "vault"})
		create(builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/web")))
		pod := newPod(namespace, volume, as("web"))
		_, err := caller.mountAsEventually(pod, map[string]string{"vault": podToken(pod, "vault")})
		expectFault(err, v1alpha1.ReasonAuthFailed, "the role does not allow service account "+namespace+"/web")
	})

	It("still checks what can be checked of a Connection", func() {
		wrong := builder.Connection(namespace, "wrong", map[string]any{"password": "vault.secret(other.password)"}, builder.WithSecret(namespace+"/web"))
		create(wrong)
		expectCondition(wrong, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidExpression)
	})

	It("serves its own namespace only, whatever allowedNamespaces says", func() {
		other := newNamespace()
		update(config, func(c *v1alpha1.VaultConfig) {
			c.Spec.AllowedNamespaces = []v1alpha1.NamespaceGrant{{
				Names: []v1alpha1.NamespaceName{v1alpha1.NamespaceName(other)}, PathPrefixes: []v1alpha1.PathPrefix{"secret"},
			}}
		})
		foreign := builder.Connection(other, "db", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/web"),
			func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].VaultConfigRef.Namespace = namespace })
		create(foreign)
		expectCondition(foreign, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed,
			ContainSubstring("with workload: true it serves the pods of its own namespace only"))
	})

	It("serves pods of all namespaces that it allows, each as itself, if its scope says so", func() {
		others := []string{newNamespace(), newNamespace()}
		stranger := newNamespace()
		vault.Write("auth/"+mount+"/role/any", map[string]any{"bound_service_account_names": "*", "bound_service_account_namespaces": "*",
			"audience": "vault", "token_policies": mount, "token_ttl": "1h"})
		update(config, func(c *v1alpha1.VaultConfig) {
			c.Spec.Auth.Kubernetes.WorkloadScope = v1alpha1.WorkloadScopeAllowedNamespaces
			c.Spec.AllowedNamespaces = []v1alpha1.NamespaceGrant{{
				Names:        []v1alpha1.NamespaceName{v1alpha1.NamespaceName(others[0]), v1alpha1.NamespaceName(others[1])},
				PathPrefixes: []v1alpha1.PathPrefix{"secret"},
			}}
		})
		connection := func(in, of string) *v1alpha1.Connection {
			return builder.Connection(in, "of-"+of, map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(of+"/web"),
				func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].VaultConfigRef.Namespace = namespace })
		}
		mount := func(in, of string) (*resolverv1.ResolveResponse, error) {
			pod := newPod(in, map[string]string{v1alpha1.AttributeConnection: "of-" + of}, as("web"))
			return caller.mountAsEventually(pod, map[string]string{"vault": podToken(pod, "vault")})
		}
		values := map[string]string{}
		for _, other := range others {
			values[other] = canary()
			vault.PutKV("secret/data/"+other+"/web", map[string]any{"password": values[other]})
			create(connection(other, others[0]), connection(other, others[1]))
			expectCondition(connection(other, other), v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		}
		for _, other := range others {
			response, err := mount(other, other)
			Expect(err).NotTo(HaveOccurred())
			Expect(files(response)).To(HaveKeyWithValue("password", values[other]))
		}
		Expect(logins()).To(Equal(2), "service accounts of one name in two namespaces are two")

		By("never giving one what is another's")
		_, err := mount(others[0], others[1])
		expectFault(err, v1alpha1.ReasonPermissionDenied, "secret/data/"+others[1]+"/web")
		create(connection(stranger, others[0]))
		_, err = mount(stranger, others[0])
		expectFault(err, v1alpha1.ReasonNamespaceNotAllowed, "does not exist, or may not be used from namespace "+stranger)

		By("being taken back")
		update(config, func(c *v1alpha1.VaultConfig) { c.Spec.Auth.Kubernetes.WorkloadScope = "" })
		Eventually(func() error {
			_, err := mount(others[0], others[0])
			return err
		}).Should(MatchError(ContainSubstring("serves the pods of its own namespace only")))
	})

	It("cannot be used by a VaultTask", func() {
		t := builder.VaultTask(namespace, "read", v1alpha1.OperationRead, namespace+"/web")
		create(t)
		expectCondition(t, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec,
			ContainSubstring("spec.auth.kubernetes: workload: this logs in as the pod that mounts a Connection, and here is none"))
	})
})
