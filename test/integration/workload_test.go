package integration

import (
	"fmt"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
		namespace, mount, alias string
		config                  *v1alpha1.VaultConfig
		caller                  *caller
		logins                  = func() int { return vault.TokensFrom("auth/" + mount + "/login") }
	)
	// own lets every service account do so with what lies at its own name.
	own := func(capabilities string) {
		GinkgoHelper()
		vault.Policy(mount, fmt.Sprintf(`path "secret/data/{{%[1]sservice_account_namespace}}/{{%[1]sservice_account_name}}" { capabilities = [%[2]s] }`,
			alias, capabilities))
	}

	// Every service account may read what lies at its own name.
	BeforeEach(func() {
		namespace = newNamespace()
		mount = "kubernetes-" + namespace
		vault.EnableAuth(mount, "kubernetes")
		DeferCleanup(func() { vault.DisableAuth(mount) })
		vault.TrustCluster(ctx, cp, mount, "kubernetes")
		auths, err := vault.Client().Sys().ListAuth()
		Expect(err).NotTo(HaveOccurred())
		alias = "identity.entity.aliases." + auths[mount+"/"].Accessor + ".metadata."
		own(`"read"`)
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

	account := func(namespace, name string) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	by := func(account string) func(*v1alpha1.VaultTask) {
		return func(t *v1alpha1.VaultTask) { t.Spec.ServiceAccountName = account }
	}

	It("logs in for a VaultTask as the service account of its namespace that it names, for its run only", func() {
		own(`"create", "read", "update"`)
		value := canary()
		vault.PutKV("secret/data/"+namespace+"/web", map[string]any{"password": value})

		By("which it must name")
		nobody := builder.VaultTask(namespace, "nobody", v1alpha1.OperationRead, namespace+"/web")
		create(nobody)
		expectCondition(nobody, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec, Equal(
			"VaultConfig "+namespace+"/main logs in as whoever uses it (workload: true), and spec.serviceAccountName does not say who that is; "+
				"create a VaultTask with serviceAccountName, a service account of this namespace that Vault's role allows; "+
				"or use a VaultConfig that logs in by itself"))
		expectCondition(nobody, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalidSpec)

		By("and which is waited for")
		read := builder.VaultTask(namespace, "read", v1alpha1.OperationRead, namespace+"/web", by("web"))
		late := builder.VaultTask(namespace, "late", v1alpha1.OperationRead, namespace+"/web", by("web"),
			func(t *v1alpha1.VaultTask) { t.Spec.ActiveDeadlineSeconds = new(int64(1)) })
		create(read, late)
		expectCondition(read, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonCredentialMissing, And(
			HavePrefix("service account "+namespace+"/web does not exist (VaultConfig "+namespace+"/main, auth kubernetes role any as "+namespace+"/web)"),
			HaveSuffix("create it, or correct spec.serviceAccountName in another VaultTask")))
		expectCondition(late, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonDeadlineExceeded)
		Expect(logins()).To(BeZero())
		create(account(namespace, "web"), account(namespace, "other"))
		expectCondition(read, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Eventually(logins).Should(BeZero(), "its token is revoked after the run")

		By("running again")
		update(read, func(t *v1alpha1.VaultTask) { t.Annotations = map[string]string{v1alpha1.AnnotationRerun: "2"} })
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(read), read)).To(Succeed())
			g.Expect(read.Status.Rerun).To(Equal("2"))
			g.Expect(meta.IsStatusConditionTrue(read.Status.Conditions, v1alpha1.ConditionComplete)).To(BeTrue())
		}).Should(Succeed())
		Eventually(logins).Should(BeZero())

		By("writing what it refers to, read as the same service account")
		write := builder.VaultTask(namespace, "write", v1alpha1.OperationPatch, namespace+"/web", by("web"),
			builder.WithData(map[string]v1alpha1.TaskValue{"copy": v1alpha1.TaskValue("vault.secret(main:" + namespace + "/web.password)")}))
		own(`"create", "read", "update", "patch"`)
		create(write)
		expectCondition(write, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		secret, err := vault.Client().KVv2("secret").Get(ctx, namespace+"/web")
		Expect(err).NotTo(HaveOccurred())
		Expect(secret.Data).To(HaveKeyWithValue("copy", value))

		By("getting nothing of another service account's, though a pod of that has it now")
		create(builder.Connection(namespace, "web", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/web")))
		pod := newPod(namespace, map[string]string{v1alpha1.AttributeConnection: "web"}, as("web"))
		tokens := map[string]string{"vault": podToken(pod, "vault")}
		_, err = caller.mountAs(pod, tokens, "")
		Expect(err).NotTo(HaveOccurred())
		for name, options := range map[string][]func(*v1alpha1.VaultTask){
			"thief": {by("other")},
			"copier": {by("other"), func(t *v1alpha1.VaultTask) {
				t.Spec.Operation, t.Spec.SecretPath = v1alpha1.OperationWrite, namespace+"/other"
			}, builder.WithData(map[string]v1alpha1.TaskValue{"copy": v1alpha1.TaskValue("vault.secret(main:" + namespace + "/web.password)")})},
		} {
			thief := builder.VaultTask(namespace, name, v1alpha1.OperationRead, namespace+"/web", options...)
			create(thief)
			expectCondition(thief, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPermissionDenied,
				And(ContainSubstring("secret/data/"+namespace+"/web"), ContainSubstring("as "+namespace+"/other")))
			Expect(cp.Client.Delete(ctx, thief)).To(Succeed())
		}
		Eventually(logins).Should(Equal(1), "the pod's: it is neither used nor revoked by a task")
		_, err = caller.mountAs(pod, tokens, "")
		Expect(err).NotTo(HaveOccurred())
		Expect(logins()).To(Equal(1))
	})

	It("is not what a VaultTask uses that names a service account where the VaultConfig logs in by itself", func() {
		tokenSecretNamed(namespace, "theirs", env.TokenOptions{Policies: []string{"everything"}})
		create(account(namespace, "web"), vault.Config(namespace, "theirs", func(c *v1alpha1.VaultConfig) { c.Spec.Auth.Token.SecretKeyRef.Name = "theirs" }))
		t := builder.VaultTask(namespace, "read", v1alpha1.OperationRead, namespace+"/web", by("web"), builder.WithConfig("theirs"))
		create(t)
		expectCondition(t, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec, Equal(
			"spec.serviceAccountName names service account web, but VaultConfig "+namespace+"/theirs logs in by itself, and as nobody else; "+
				"create a VaultTask without serviceAccountName, or use a VaultConfig with workload: true"))
		Expect(t.Status.Claim).To(BeNil())
	})

	It("logs in for VaultTasks of all namespaces that it allows, each as itself, if its scope says so", func() {
		own(`"create", "read", "update"`)
		others, stranger := []string{newNamespace(), newNamespace()}, newNamespace()
		vault.Write("auth/"+mount+"/role/any", map[string]any{"bound_service_account_names": "*", "bound_service_account_namespaces": "*",
			"audience": "vault", "token_policies": mount, "token_ttl": "1h"})
		grants := []v1alpha1.NamespaceGrant{{
			Names:        []v1alpha1.NamespaceName{v1alpha1.NamespaceName(others[0]), v1alpha1.NamespaceName(others[1])},
			PathPrefixes: []v1alpha1.PathPrefix{"secret"}, TaskOperations: []v1alpha1.VaultTaskOperation{v1alpha1.OperationWrite},
		}}
		task := func(in, name, of string) *v1alpha1.VaultTask {
			return builder.VaultTask(in, name, v1alpha1.OperationWrite, of+"/web", by("web"),
				func(t *v1alpha1.VaultTask) { t.Spec.VaultConfigRef.Namespace = namespace },
				builder.WithData(map[string]v1alpha1.TaskValue{"from": v1alpha1.TaskValue(in)}))
		}
		update(config, func(c *v1alpha1.VaultConfig) { c.Spec.AllowedNamespaces = grants })
		for _, of := range append(others, stranger) {
			create(account(of, "web"))
		}
		early := task(others[0], "early", others[0])
		create(early)
		expectCondition(early, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed)
		Expect(logins()).To(BeZero())
		update(config, func(c *v1alpha1.VaultConfig) {
			c.Spec.Auth.Kubernetes.WorkloadScope = v1alpha1.WorkloadScopeAllowedNamespaces
		})
		expectCondition(early, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)

		By("many at once, whose service accounts have one name")
		var mine, thefts []*v1alpha1.VaultTask
		for n := range 4 {
			for i, in := range others {
				mine = append(mine, task(in, fmt.Sprint("mine-", n), in))
				thefts = append(thefts, task(in, fmt.Sprint("theft-", n), others[1-i]))
			}
		}
		for n := range mine {
			create(mine[n], thefts[n])
		}
		for n := range mine {
			expectCondition(thefts[n], v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPermissionDenied,
				ContainSubstring("as "+thefts[n].Namespace+"/web"))
			Expect(cp.Client.Delete(ctx, thefts[n])).To(Succeed())
			Eventually(func(g Gomega) { // several write one secret: some find another version than they looked at
				g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(mine[n]), mine[n])).To(Succeed())
				g.Expect(mine[n].Status.CompletionTime).NotTo(BeNil())
			}).Should(Succeed())
		}
		for _, of := range others {
			secret, err := vault.Client().KVv2("secret").Get(ctx, of+"/web")
			Expect(err).NotTo(HaveOccurred())
			Expect(secret.Data).To(Equal(map[string]any{"from": of}))
		}
		Eventually(logins).Should(BeZero())

		By("nobody else, and nothing else")
		foreign := task(stranger, "foreign", others[0])
		operation := task(others[0], "operation", others[0])
		operation.Spec.Operation, operation.Spec.Data = v1alpha1.OperationRead, nil
		create(foreign, operation)
		expectCondition(foreign, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed,
			ContainSubstring("does not exist, or may not be used from namespace "+stranger))
		expectCondition(operation, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed)
	})
})
