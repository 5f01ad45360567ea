package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	resolverclient "sallyport.dev/sallyport/internal/resolver/client"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// caller is a node plugin's client, with a token file of its own.
type caller struct {
	client    *resolverclient.Client
	tokenFile string
}

// newCaller starts a client for one replica with the token of the suite's node plugin.
func newCaller(replica *env.Controller, options ...func(*resolverclient.Config)) *caller {
	GinkgoHelper()
	token, err := node.Token(ctx)
	Expect(err).NotTo(HaveOccurred())
	c := &caller{tokenFile: filepath.Join(GinkgoT().TempDir(), "token")}
	c.useToken(token)
	config := resolverclient.Config{
		Kubernetes: cp.Clients, Namespace: env.Namespace, NodeName: node.Name, TokenFile: c.tokenFile, Port: replica.ResolverPort,
	}
	for _, option := range options {
		option(&config)
	}
	c.client = resolverclient.New(config)
	done, running := make(chan struct{}), ginkgoContext() // here, because a short spec may be over before the goroutine runs
	go func() { defer close(done); _ = c.client.Run(running) }()
	return c
}

func (c *caller) useToken(token string) {
	GinkgoHelper()
	remember(token)
	Expect(os.WriteFile(c.tokenFile, []byte(token), 0o600)).To(Succeed())
}

// mount asks as the node plugin does when the kubelet publishes a volume of the pod.
func (c *caller) mount(pod *corev1.Pod, revision ...string) (*resolverv1.ResolveResponse, error) {
	GinkgoHelper()
	token, err := cp.PodToken(ctx, pod, v1alpha1.AudiencePod)
	Expect(err).NotTo(HaveOccurred())
	remember(token)
	request := &resolverv1.ResolveRequest{PodToken: token, VolumeAttributes: pod.Spec.Volumes[0].CSI.VolumeAttributes}
	if len(revision) > 0 {
		request.Revision = revision[0]
	}
	return c.client.Resolve(ctx, request)
}

func newPod(namespace string, attributes map[string]string, mutate ...func(*corev1.Pod)) *corev1.Pod {
	GinkgoHelper()
	pods++
	pod, err := node.CreatePod(ctx, namespace, fmt.Sprintf("app-%d", pods), attributes, mutate...)
	Expect(err).NotTo(HaveOccurred())
	return pod
}

var pods int

func files(response *resolverv1.ResolveResponse) map[string]string {
	found := map[string]string{}
	for _, file := range response.GetFiles() {
		found[file.GetPath()] = string(file.GetContent())
	}
	return found
}

func expectFault(err error, reason, sentence string) {
	GinkgoHelper()
	Expect(err).To(HaveOccurred())
	Expect(fault.From(err).Reason).To(Equal(reason), "%v", err)
	Expect(err).To(MatchError(ContainSubstring(sentence)))
}

var _ = Describe("A mounted Connection", func() {
	var (
		namespace      string
		user, password string
		caller         *caller
	)

	BeforeEach(func() {
		namespace = newNamespace()
		readyConfig(namespace)
		user, password = canary(), canary()
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{
			"user": user, "password": password, "port": 1521, "options": map[string]any{"tls": true}, "a.b": "dotted",
		})
		caller = newCaller(replica)
	})

	It("has the files of the Service Binding layout, with values from Vault", func() {
		create(builder.Connection(namespace, "oracle", map[string]any{
			"host": "my-oracle-server", "service_name": "xe", "user": "vault.secret(user)", "password": "vault.secret(password)",
		}, builder.WithSecret("data/"+namespace+"/oracle")))
		response, err := mountEventually(caller, newPod(namespace, map[string]string{"connection": "oracle"}))
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(Equal(map[string]string{
			"type": "test", "host": "my-oracle-server", "service_name": "xe", "user": user, "password": password,
		}))
	})

	It("understands every form of reference and keeps types", func() {
		create(builder.Connection(namespace, "forms", map[string]any{
			"bare":     "vault.secret(user)",
			"named":    "vault.secret(kv.token)",
			"direct":   "vault.secret(main:" + namespace + "/oracle.password)",
			"quoted":   `vault.secret(main:"data/` + namespace + `/oracle"."a.b")`,
			"port":     "vault.secret(port)",
			"url":      "jdbc:oracle:thin:vault.secret(user)@host:vault.secret(port)",
			"nested":   map[string]any{"list": []any{"vault.secret(port)", "vault.secret(options)", 7, true, nil}},
			"literal":  `vault.text("vault.secret(user)")`,
			"password": "plain",
		}, builder.WithSecret(namespace+"/oracle"), func(c *v1alpha1.Connection) {
			vault.PutKV("kv/"+namespace+"/legacy", map[string]any{"token": "from-kv-1"})
			legacy := builder.VaultSecret("kv", namespace+"/legacy")
			legacy.EnginePath = "kv"
			c.Spec.VaultSecrets = append(c.Spec.VaultSecrets, legacy)
		}))
		response, err := mountEventually(caller, newPod(namespace, map[string]string{"connection": "forms"}))
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(Equal(map[string]string{
			"type": "test", "bare": user, "named": "from-kv-1", "direct": password, "quoted": "dotted", "port": "1521",
			"url":    "jdbc:oracle:thin:" + user + "@host:1521",
			"nested": `{"list":[1521,{"tls":true},7,true,null]}`, "literal": "vault.secret(user)", "password": "plain",
		}))
	})

	It("takes overrides from the pod's spec, literally, and does not even read what they replace", func() {
		create(builder.Connection(namespace, "oracle", map[string]any{"host": "a", "password": "vault.secret(password)"}, builder.WithSecret(namespace+"/nothing-there")))
		response, err := mountEventually(caller, newPod(namespace, map[string]string{
			"connection": "oracle", "value.password": "vault.secret(user)", "value.host": "b",
		}))
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(Equal(map[string]string{"type": "test", "host": "b", "password": "vault.secret(user)"}))

		_, err = mountEventually(caller, newPod(namespace, map[string]string{"connection": "oracle", "value.pasword": "x"}))
		expectFault(err, v1alpha1.ReasonUnknownOverride, "pasword")
	})

	It("uses several VaultConfigs, and pinned versions", func() {
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"user": "second"})
		create(vault.Config(namespace, "other"))
		one := int64(1)
		create(builder.Connection(namespace, "both", map[string]any{
			"new": "vault.secret(new.user)", "old": "vault.secret(old.user)",
		}, builder.WithSecret(namespace+"/oracle"), func(c *v1alpha1.Connection) {
			fresh, old := builder.VaultSecret("new", namespace+"/oracle"), builder.VaultSecret("old", namespace+"/oracle")
			fresh.VaultConfigRef.Name = "other"
			old.Version = &one
			c.Spec.VaultSecrets = []v1alpha1.VaultSecret{fresh, old}
		}))
		response, err := mountEventually(caller, newPod(namespace, map[string]string{"connection": "both"}))
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(Equal(map[string]string{"type": "test", "new": "second", "old": user}))
	})

	It("reads what an engine other than KV answers", func() {
		vault.Mount("transit", "transit")
		DeferCleanup(func() { vault.Unmount("transit") })
		vault.Create("transit/keys/" + namespace)
		c := builder.Connection(namespace, "key", map[string]any{"kind": "vault.secret(type)", "newest": "vault.secret(latest_version)"}, builder.WithSecret("keys/"+namespace),
			func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].EnginePath = "transit" })
		create(c)
		response, err := mountEventually(caller, newPod(namespace, map[string]string{"connection": "key"}))
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(Equal(map[string]string{"type": "test", "kind": "aes256-gcm96", "newest": "1"}))
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(c.Status.Secrets).To(HaveExactElements(HaveField("Path", "transit/keys/"+namespace)))
	})

	It("is refreshed by revision: unchanged while nothing changes, new files when the secret does", func() {
		c := builder.Connection(namespace, "oracle", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"), builder.WithShortestRefresh)
		create(c)
		pod := newPod(namespace, map[string]string{"connection": "oracle"})
		first, err := mountEventually(caller, pod)
		Expect(err).NotTo(HaveOccurred())
		Expect(first.GetRefreshAfterMs()).To(And(BeNumerically(">", 0), BeNumerically("<=", 5000)))

		again, err := caller.mount(pod, first.GetRevision())
		Expect(err).NotTo(HaveOccurred())
		Expect(again.GetUnchanged()).To(BeTrue())
		Expect(again.GetFiles()).To(BeEmpty())

		next := canary()
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"password": next})
		Eventually(func(g Gomega) {
			response, err := caller.mount(pod, first.GetRevision())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(files(response)).To(HaveKeyWithValue("password", next))
			g.Expect(response.GetRevision()).NotTo(Equal(first.GetRevision()))
		}).Should(Succeed())

		By("a change of the Connection itself")
		update(c, func(c *v1alpha1.Connection) { c.Spec.Value = builder.JSON(map[string]any{"other": "x"}) })
		Eventually(func(g Gomega) {
			response, err := caller.mount(pod, first.GetRevision())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(files(response)).To(Equal(map[string]string{"type": "test", "other": "x"}))
		}).Should(Succeed())
	})

	It("has what a VaultTask wrote at once, whatever its refresh interval is", func() {
		create(builder.Connection(namespace, "oracle", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"),
			func(c *v1alpha1.Connection) { c.Spec.RefreshInterval = &metav1.Duration{Duration: time.Hour} }))
		pod := newPod(namespace, map[string]string{"connection": "oracle"})
		held, err := mountEventually(caller, pod)
		Expect(err).NotTo(HaveOccurred())
		start, err := caller.client.Changes(ctx, &resolverv1.ChangesRequest{})
		Expect(err).NotTo(HaveOccurred())
		Expect(start.GetChangeKeys()).To(BeEmpty())

		next := canary()
		vault.PutKV("secret/data/"+namespace+"/source", map[string]any{"password": next})
		create(builder.VaultTask(namespace, "write", v1alpha1.OperationWrite, namespace+"/oracle",
			builder.WithData(map[string]v1alpha1.TaskValue{"password": v1alpha1.TaskValue("vault.secret(main:" + namespace + "/source.password)")})))
		cursor := start.GetCursor()
		Eventually(func(g Gomega) []string {
			told, failure := caller.client.Changes(ctx, &resolverv1.ChangesRequest{After: cursor})
			g.Expect(failure).NotTo(HaveOccurred())
			cursor = told.GetCursor()
			return told.GetChangeKeys()
		}).Should(ContainElements(held.GetChangeKeys()))
		response, err := caller.mount(pod, held.GetRevision())
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(HaveKeyWithValue("password", next))

		caller.useToken("nobodys-service-account-token")
		_, err = caller.client.Changes(ctx, &resolverv1.ChangesRequest{})
		expectFault(err, v1alpha1.ReasonNotAllowed, "the node plugin's token is not valid")
	})

	It("cannot be larger than the cap", func() {
		vault.PutKV("secret/data/"+namespace+"/large", map[string]any{"blob": strings.Repeat("x", 600<<10)})
		create(builder.Connection(namespace, "large", map[string]any{"a": "vault.secret(blob)", "b": "vault.secret(blob)"}, builder.WithSecret(namespace+"/large")))
		_, err := mountEventually(caller, newPod(namespace, map[string]string{"connection": "large"}))
		expectFault(err, v1alpha1.ReasonTooLarge, "Connection "+namespace+"/large")
	})

	It("goes only to the service accounts that it allows", func() {
		create(builder.Connection(namespace, "picky", map[string]any{"u": "vault.secret(user)"}, builder.WithSecret(namespace+"/oracle"), func(c *v1alpha1.Connection) {
			c.Spec.AllowedServiceAccounts = []string{"trusted"}
		}))
		_, err := mountEventually(caller, newPod(namespace, map[string]string{"connection": "picky"}))
		expectFault(err, v1alpha1.ReasonNotAllowed, "allowedServiceAccounts")
		_, err = mountEventually(caller, newPod(namespace, map[string]string{"connection": "picky"}, func(p *corev1.Pod) { p.Spec.ServiceAccountName = "trusted" }))
		Expect(err).NotTo(HaveOccurred())
	})

	It("is one of the pod's own namespace", func() {
		create(builder.Connection(namespace, "oracle", map[string]any{"u": "vault.secret(user)"}, builder.WithSecret(namespace+"/oracle")))
		other := newNamespace()
		pod := newPod(other, map[string]string{"connection": "oracle"})
		_, err := caller.mount(pod)
		expectFault(err, v1alpha1.ReasonConnectionNotFound, "Connection "+other+"/oracle does not exist")
	})
})

var _ = Describe("Mounts at the same moment", Serial, func() {
	It("share one read in Vault, and so do the refreshes of all volumes in one interval", func() {
		namespace := newNamespace()
		proxy := readyConfigByProxy(namespace)
		path := "secret/data/" + namespace + "/oracle"
		vault.PutKV(path, map[string]any{"password": canary()})
		c := builder.Connection(namespace, "oracle", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"),
			// Long enough that a busy machine does not get through two rounds where the spec speaks of one.
			func(c *v1alpha1.Connection) { c.Spec.RefreshInterval = &metav1.Duration{Duration: 20 * time.Second} })
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		caller := newCaller(replica)

		const volumes = 20
		mounted := make([]*corev1.Pod, volumes)
		for i := range mounted {
			mounted[i] = newPod(namespace, map[string]string{"connection": "oracle"})
		}
		_, err := caller.mount(mounted[0]) // connects, and has the API server review the node's token
		Expect(err).NotTo(HaveOccurred())

		read := "GET secret/data/" + namespace + "/oracle"
		// Every answer takes long enough for all of them to meet.
		proxy.Inject(env.Fault{Path: "secret/data/", Delay: slow})
		proxy.Reset()
		began := time.Now()
		revisions := parallel(volumes, func(i int) string {
			response, err := caller.mount(mounted[i])
			Expect(err).NotTo(HaveOccurred())
			return response.GetRevision()
		})
		// One read is shared for two seconds, and a burst may span its end.
		Expect(proxy.Counts()).To(HaveKeyWithValue(read, BeNumerically("<=", 2+int(time.Since(began)/(2*time.Second)))))

		refresh := func() (after time.Duration) {
			told := parallel(volumes, func(i int) string {
				response, err := caller.mount(mounted[i], revisions[i])
				Expect(err).NotTo(HaveOccurred())
				Expect(response.GetUnchanged()).To(BeTrue())
				return fmt.Sprintf("%dms", response.GetRefreshAfterMs())
			})
			after, err := time.ParseDuration(told[0])
			Expect(err).NotTo(HaveOccurred())
			return after
		}
		By("refreshing within the round of the mounts' read")
		proxy.Reset()
		after := refresh()
		Expect(proxy.Counts()).NotTo(HaveKey(read))
		By("refreshing when the round has ended")
		time.Sleep(after) // what the resolver told every volume to do
		refresh()
		Expect(proxy.Counts()).To(HaveKeyWithValue(read, 1))
	})
})

// parallel runs do for every index at once and returns what they return.
func parallel(n int, do func(int) string) []string {
	results := make([]string, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			defer GinkgoRecover()
			results[i] = do(i)
		})
	}
	group.Wait()
	return results
}

// mountEventually mounts once the replica's caches have seen the Connection that the spec has just created.
func mountEventually(caller *caller, pod *corev1.Pod) (response *resolverv1.ResolveResponse, err error) {
	GinkgoHelper()
	return untilKnown(func() (*resolverv1.ResolveResponse, error) { return caller.mount(pod) })
}

// untilKnown mounts until the caches have seen Connection and VaultConfig.
func untilKnown(mount func() (*resolverv1.ResolveResponse, error)) (response *resolverv1.ResolveResponse, err error) {
	GinkgoHelper()
	Eventually(func() bool {
		response, err = mount()
		return fault.Is(err, v1alpha1.ReasonConnectionNotFound) || fault.Is(err, v1alpha1.ReasonConfigNotFound)
	}).Should(BeFalse(), func() string { return err.Error() })
	return response, err
}

// slow makes requests that start together overlap.
const slow = 500 * time.Millisecond

// ginkgoContext ends with the spec.
func ginkgoContext() context.Context {
	GinkgoHelper()
	specContext, cancel := context.WithCancel(ctx)
	DeferCleanup(cancel)
	return specContext
}
