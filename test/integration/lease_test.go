package integration

import (
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	resolverclient "sallyport.dev/sallyport/internal/resolver/client"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// leasedVolume is a volume of a pod as the node plugin has it: its state from one response to the next.
type leasedVolume struct {
	pod      *corev1.Pod
	id       string
	revision string
	leases   []byte
	files    map[string]string
	after    time.Duration
	old      bool // its node plugin is older than kept files
}

func newLeasedVolume(pod *corev1.Pod) *leasedVolume {
	return &leasedVolume{pod: pod, id: env.VolumeID(pod, pod.Spec.Volumes[0].Name)}
}

// resolve asks a resolver for the files of the volume, and keeps the response.
func (v *leasedVolume) resolve(c *caller) error {
	GinkgoHelper()
	token, err := cp.PodToken(ctx, v.pod, v1alpha1.AudiencePod)
	Expect(err).NotTo(HaveOccurred())
	remember(token)
	response, err := c.client.Resolve(ctx, &resolverv1.ResolveRequest{
		PodToken: token, VolumeAttributes: v.pod.Spec.Volumes[0].CSI.VolumeAttributes, VolumeId: v.id, Revision: v.revision, Leases: v.leases, KeepsFiles: !v.old,
	})
	if err != nil {
		return err
	}
	v.leases, v.revision, v.after = response.GetLeases(), response.GetRevision(), time.Duration(response.GetRefreshAfterMs())*time.Millisecond
	if !response.GetUnchanged() {
		former := v.files
		v.files = files(response)
		for _, file := range response.GetFiles() {
			if file.GetKept() {
				Expect(file.GetContent()).To(BeEmpty())
				v.files[file.GetPath()] = former[file.GetPath()]
			}
		}
		for line := range strings.FieldsSeq(v.files["password"] + "\n" + v.files["tls.key"]) {
			if len(line) >= 16 { // not the words around a key
				remember(line)
			}
		}
	}
	return nil
}

func (v *leasedVolume) mounted(c *caller) *leasedVolume {
	GinkgoHelper()
	Eventually(func() error { return v.resolve(c) }).Should(Succeed())
	return v
}

// leaseMetric is what this process counts of leases, all replicas of it together.
func leaseMetric(action string) float64 {
	GinkgoHelper()
	families, err := metrics.Registry.Gather()
	Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "sallyport_leases_total" && m.GetLabel()[0].GetValue() == action {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func (c *caller) release(leases []byte) error {
	return c.client.Release(ctx, &resolverv1.ReleaseRequest{Leases: leases})
}

// alone lets a client find one replica only.
func alone(replica *env.Controller) func(*resolverclient.Config) {
	GinkgoHelper()
	published, err := cp.Clients.CoreV1().ConfigMaps(env.Namespace).Get(ctx, resolverv1.ConfigMapName, metav1.GetOptions{})
	Expect(err).NotTo(HaveOccurred())
	published.Data = map[string]string{replica.PodName: published.Data[replica.PodName]}
	return func(c *resolverclient.Config) { c.Kubernetes = fake.NewClientset(published) }
}

var _ = Describe("A Connection with credentials that Vault makes for each volume", Ordered, func() {
	// It is time for another lease, token or renewal when a third of this is left, for which a process may stall.
	const brief = 30 * time.Second
	var (
		database          *env.Postgres
		namespace, engine string
		caller            *caller
		config            *v1alpha1.VaultConfig
	)

	BeforeAll(func() {
		var err error
		database, err = env.StartPostgres(ctx, "")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(database.Close)
		engine = "database-leases"
		vault.MountDatabase(engine, database, map[string]env.DatabaseRole{
			"app":    {DefaultTTL: time.Hour, MaxTTL: 24 * time.Hour},
			"brief":  {DefaultTTL: brief, MaxTTL: time.Hour},
			"capped": {DefaultTTL: brief, MaxTTL: brief + time.Second},
		})
		DeferCleanup(func() { vault.Unmount(engine) })
		vault.Policy("leases", fmt.Sprintf(`path "%s/creds/*" { capabilities = ["read"] }
			path "sys/leases/revoke" { capabilities = ["update"] }
			path "secret/*" { capabilities = ["read"] }`, engine))
		vault.Policy("leases-kept", fmt.Sprintf(`path "%s/creds/*" { capabilities = ["read"] }`, engine))
	})

	BeforeEach(func() {
		namespace = newNamespace()
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"leases"}})
		config = vault.Config(namespace, "main")
		create(config)
		caller = newCaller(replica)
	})

	// users are the names of those that Vault has made in the database and not dropped yet.
	users := func() []string {
		return slices.DeleteFunc(database.Roles(), func(name string) bool { return !slices.Contains([]string{"v-"}, name[:min(2, len(name))]) })
	}
	// creds is a Connection to the database with the credentials of a role.
	creds := func(name, role string, mutate ...func(*v1alpha1.Connection)) *v1alpha1.Connection {
		return builder.Connection(namespace, name, map[string]any{"username": "vault.secret(username)", "password": "vault.secret(password)"}, builder.WithSecret("creds/"+role),
			func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].EnginePath = engine }, builder.WithShortestRefresh, builder.All(mutate...))
	}
	// withHost adds a host from a KV secret.
	withHost := func(c *v1alpha1.Connection) *v1alpha1.Connection {
		c.Spec.VaultSecrets[0].Name = "db"
		c.Spec.VaultSecrets = append(c.Spec.VaultSecrets, builder.VaultSecret("where", namespace+"/host"))
		c.Spec.Value = builder.JSON(map[string]any{
			"host": "vault.secret(where.host)", "username": "vault.secret(db.username)", "password": "vault.secret(db.password)",
		})
		return c
	}
	volume := func(name string) *leasedVolume {
		return newLeasedVolume(newPod(namespace, map[string]string{"connection": name}))
	}
	login := func(v *leasedVolume) error { return database.Login(v.files["username"], v.files["password"]) }
	// validUntil is when the volume's user ends, which Vault puts off with each renewal.
	validUntil := func(v *leasedVolume) time.Time { return database.ValidUntil(v.files["username"]) }

	It("has a user of its own for each volume, which ends with the volume", func() {
		before := len(users())
		c := creds("db", "app")
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded,
			Equal("every reference can be resolved; made for each volume when it is mounted: "+engine+"/creds/app"))
		Expect(users()).To(HaveLen(before), "to check a Connection makes no user")
		Expect(c.Status.Secrets).To(ConsistOf(v1alpha1.ObservedSecret{VaultConfig: namespace + "/main", Path: engine + "/creds/app"}))

		one, two := volume("db").mounted(caller), volume("db").mounted(caller)
		Expect(one.files["username"]).NotTo(Equal(two.files["username"]))
		Expect(login(one)).To(Succeed())
		Expect(login(two)).To(Succeed())
		Expect(users()).To(HaveLen(before + 2))
		leased, revision := one.leases, one.revision
		Expect(string(leased)).NotTo(ContainSubstring(engine), "it is encrypted")
		Expect(one.resolve(caller)).To(Succeed())
		Expect(one.revision).To(Equal(revision))
		Expect(users()).To(HaveLen(before+2), "a refresh makes no user")

		Expect(caller.release(one.leases)).To(Succeed())
		Eventually(users).Should(HaveLen(before + 1))
		Expect(login(two)).To(Succeed())
		Expect(caller.release(leased)).To(Succeed(), "revoked already")
		Expect(caller.release(two.leases)).To(Succeed())
		Eventually(users).Should(HaveLen(before))
	})

	It("renews them while the volume asks, with the same files, also by another replica and while the VaultConfig is disabled", func() {
		disabled := vault.Config(namespace, "disabled")
		create(disabled, creds("db", "brief", func(c *v1alpha1.Connection) {
			c.Spec.RefreshInterval = &metav1.Duration{Duration: time.Hour}
		}), creds("held", "brief", func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].VaultConfigRef.Name = "disabled" }))
		other, err := cp.StartController(ctx, "sallyport-controller-lease", log)
		Expect(err).NotTo(HaveOccurred())
		v, held := volume("db").mounted(newCaller(other)), volume("held").mounted(newCaller(other))
		began := time.Now()
		Expect(v.after).To(BeNumerically("<=", brief*2/3), "it comes back before the lease ends")
		first, ends := v.files["username"], []time.Time{validUntil(v), validUntil(held)}
		Expect(other.Stop()).To(Succeed())
		update(disabled, func(c *v1alpha1.VaultConfig) { c.Spec.Enabled = new(false) })
		Eventually(func() error { return held.resolve(caller) }).Should(MatchError(ContainSubstring("is disabled")))
		Eventually(func(g Gomega) {
			Expect(v.resolve(caller)).To(Succeed())
			Expect(held.resolve(caller)).NotTo(Succeed())
			Expect(login(v)).To(Succeed())
			Expect(login(held)).To(Succeed())
			g.Expect(time.Since(began)).To(BeNumerically(">", brief))
			g.Expect(validUntil(v)).To(BeTemporally(">", ends[0]))
			g.Expect(validUntil(held)).To(BeTemporally(">", ends[1]))
		}).WithTimeout(4 * brief).WithPolling(500 * time.Millisecond).Should(Succeed())
		Expect(v.files["username"]).To(Equal(first))
		for _, v := range []*leasedVolume{v, held} {
			Expect(caller.release(v.leases)).To(Succeed())
			Eventually(func() error { return login(v) }).Should(MatchError(env.ErrPostgresLogin))
		}
	})

	It("replaces what cannot be renewed any more, with overlap", func() {
		create(creds("db", "capped"))
		v := volume("db").mounted(caller)
		seen := []string{v.files["username"]}
		for end := time.Now().Add(5 * brief); time.Now().Before(end) && len(seen) < 3; time.Sleep(300 * time.Millisecond) {
			former := v.files
			Expect(v.resolve(caller)).To(Succeed())
			Expect(login(v)).To(Succeed())
			if v.files["username"] != former["username"] {
				seen = append(seen, v.files["username"])
				Expect(database.Login(former["username"], former["password"])).To(Succeed(), "the pod has not seen the new files yet")
			}
		}
		Expect(len(seen)).To(BeNumerically(">=", 3))
		Eventually(users).ShouldNot(ContainElement(seen[0]))
		Expect(caller.release(v.leases)).To(Succeed())
		Eventually(users).ShouldNot(ContainElements(seen[len(seen)-1]))
	})

	It("replaces them before the token that made them dies, be it a service or a batch token", func() {
		var volumes []*leasedVolume
		for name, options := range map[string]env.TokenOptions{
			"service": {Policies: []string{"leases"}, TTL: brief, ExplicitMaxTTL: brief},
			"batch":   {Policies: []string{"leases"}, TTL: brief, Batch: true},
		} {
			tokenSecretNamed(namespace, name, options)
			by := vault.Config(namespace, name, builder.WithTokenSecret(name))
			create(by, creds(name, "app", func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].VaultConfigRef.Name = name }))
			volumes = append(volumes, volume(name).mounted(caller))
			reconfigure(by, func(c *v1alpha1.VaultConfig) { c.Spec.Auth.Token.SecretKeyRef.Name = "vault-token" })
		}
		former := []map[string]string{volumes[0].files, volumes[1].files}
		loginFormer := func(i int) error { return database.Login(former[i]["username"], former[i]["password"]) }
		replaced := make([]bool, len(volumes))
		Eventually(func() []bool {
			for i, v := range volumes {
				Expect(v.resolve(caller)).To(Succeed())
				Expect(login(v)).To(Succeed())
				if !replaced[i] && v.files["username"] != former[i]["username"] {
					replaced[i] = true
					Expect(loginFormer(i)).To(Succeed(), "the token still lives")
				}
			}
			return replaced
		}).WithTimeout(3 * brief).Should(HaveEach(true))
		for i, v := range volumes {
			Eventually(func() error { return loginFormer(i) }).WithTimeout(4 * brief).Should(MatchError(env.ErrPostgresLogin))
			Expect(login(v)).To(Succeed())
			Expect(caller.release(v.leases)).To(Succeed())
		}
	})

	It("gives back what did not reach the volume", func() {
		create(creds("db", "app"))
		v := newLeasedVolume(newPod(namespace, map[string]string{v1alpha1.AttributeConnection: "db"}, func(p *corev1.Pod) {
			second := p.Spec.Volumes[0].DeepCopy()
			second.Name = "second"
			p.Spec.Volumes = append(p.Spec.Volumes, *second)
		})).mounted(caller)
		lost := v.files
		v.revision, v.leases = "", nil // the node plugin was killed before it wrote anything down
		Expect(v.resolve(caller)).To(Succeed())
		Expect(v.files["username"]).NotTo(Equal(lost["username"]))
		Eventually(func() error { return database.Login(lost["username"], lost["password"]) }).Should(MatchError(env.ErrPostgresLogin))
		Expect(login(v)).To(Succeed())

		By("telling volumes of one pod apart that have the same attributes")
		twin := newLeasedVolume(v.pod)
		twin.id = env.VolumeID(v.pod, "second")
		twin.mounted(caller)
		Expect(login(v)).To(Succeed())
		Expect(login(twin)).To(Succeed())
		Expect(caller.release(v.leases)).To(Succeed())
		Expect(caller.release(twin.leases)).To(Succeed())
	})

	It("does not take a release that comes late for one of what was made since", func() {
		create(creds("db", "app"))
		v := volume("db").mounted(caller)
		former := v.leases
		v.revision, v.leases = "", nil
		Expect(v.resolve(caller)).To(Succeed())
		Expect(caller.release(former)).To(Succeed())
		Expect(login(v)).To(Succeed())
		Expect(caller.release(v.leases)).To(Succeed())
		Eventually(func() error { return login(v) }).Should(MatchError(env.ErrPostgresLogin))
	})

	It("renews them while nothing else of the Connection can be had", func() {
		vault.PutKV("secret/data/"+namespace+"/host", map[string]any{"host": "one"})
		create(withHost(creds("db", "brief")))
		v := volume("db").mounted(caller)
		ends := validUntil(v)
		vault.PutKV("secret/data/"+namespace+"/host", map[string]any{"other": "two"})
		Eventually(func() error { return v.resolve(caller) }).Should(MatchError(ContainSubstring("has no key")))
		Eventually(func() time.Time {
			expectFault(v.resolve(caller), v1alpha1.ReasonKeyMissing, "has no key")
			Expect(login(v)).To(Succeed())
			return validUntil(v)
		}).WithTimeout(3*brief).WithPolling(500*time.Millisecond).Should(BeTemporally(">", ends), "it is renewed")
		Expect(caller.release(v.leases)).To(Succeed(), "with the books of long ago")
		Eventually(func() error { return login(v) }).Should(MatchError(env.ErrPostgresLogin))
	})

	It("makes one, however many references mean it", func() {
		before := len(users())
		reconfigure(config, func(c *v1alpha1.VaultConfig) { c.Spec.EnginePath = engine })
		create(creds("db", "app", func(c *v1alpha1.Connection) {
			c.Spec.VaultSecrets = append(c.Spec.VaultSecrets, *c.Spec.VaultSecrets[0].DeepCopy())
			c.Spec.VaultSecrets[0].Name, c.Spec.VaultSecrets[1].Name = "one", "two"
			c.Spec.Value = builder.JSON(map[string]any{"username": "vault.secret(one.username)", "password": "vault.secret(two.password)",
				"again": `vault.secret(main:creds/app.password)`})
		}))
		v := volume("db").mounted(caller)
		Expect(login(v)).To(Succeed())
		Expect(v.files).To(HaveKeyWithValue("again", v.files["password"]))
		Expect(users()).To(HaveLen(before + 1))
		for range 3 {
			former := v.files["username"]
			Expect(v.resolve(caller)).To(Succeed())
			Expect(v.files["username"]).To(Equal(former))
		}
		Expect(caller.release(v.leases)).To(Succeed())
		Eventually(users).Should(HaveLen(before))
	})

	It("makes ever less while a mistake lasts", func() {
		proxy, err := env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		c := creds("db", "app", func(c *v1alpha1.Connection) {
			c.Spec.VaultSecrets[0].VaultConfigRef.Name = "counted"
			c.Spec.Value = builder.JSON(map[string]any{"password": "vault.secret(pasword)"})
		})
		create(vault.Config(namespace, "counted", builder.WithURL(proxy.URL())), c)
		others, before := users(), leaseMetric("released")
		pods := []*corev1.Pod{newPod(namespace, map[string]string{"connection": "db"}), newPod(namespace, map[string]string{"connection": "db"})}
		began := time.Now()
		for range 4 {
			for _, pod := range pods {
				_, err := mountEventually(caller, pod)
				expectFault(err, v1alpha1.ReasonKeyMissing, "Connection "+namespace+`/db, key "password": no attached secret has the key "pasword"`)
			}
		}
		// The pause after one is 5 s, after the next twice as long, and so on, however slow this machine is.
		made := proxy.Counts()["GET "+engine+"/creds/app"]
		Expect(made).To(BeNumerically(">=", 1))
		Expect(time.Since(began)).To(BeNumerically(">=", 5*time.Second*time.Duration(1<<(made-1)-1)), "%d were made", made)
		Eventually(func() float64 { return leaseMetric("released") - before }).Should(BeNumerically(">=", made))
		Eventually(func() []string {
			return slices.DeleteFunc(users(), func(name string) bool { return slices.Contains(others, name) })
		}).Should(BeEmpty())
		update(c, func(c *v1alpha1.Connection) {
			c.Spec.Value = builder.JSON(map[string]any{"username": "vault.secret(username)", "password": "vault.secret(password)"})
		})
		v := newLeasedVolume(pods[0]).mounted(caller)
		Expect(login(v)).To(Succeed(), "as soon as it is corrected")
		Expect(caller.release(v.leases)).To(Succeed())
	})

	It("makes others when somebody revoked them", func() {
		create(creds("db", "app"))
		v := volume("db").mounted(caller)
		revoked := v.files["username"]
		vault.RevokeLeases(engine + "/creds/app")
		Expect(v.resolve(caller)).To(Succeed())
		Expect(v.files["username"]).NotTo(Equal(revoked))
		Expect(login(v)).To(Succeed())
		Expect(caller.release(v.leases)).To(Succeed())
	})

	It("leaves files as they are that hold nothing else, whatever changes beside them", func() {
		before := len(users())
		database.AddRole("report", canary())
		vault.AddStaticRole(engine, "report", "report")
		vault.Policy("leases", fmt.Sprintf(`path "%s/creds/*" { capabilities = ["read"] }
			path "%[1]s/static-creds/*" { capabilities = ["read"] }
			path "sys/leases/revoke" { capabilities = ["update"] }
			path "secret/*" { capabilities = ["read"] }`, engine))
		vault.PutKV("secret/data/"+namespace+"/host", map[string]any{"host": "one"})
		c := withHost(creds("db", "app"))
		c.Spec.VaultSecrets = append(c.Spec.VaultSecrets, v1alpha1.VaultSecret{
			Name: "static", VaultConfigRef: v1alpha1.VaultConfigReference{Name: "main"}, EnginePath: engine, SecretPath: "static-creds/report",
		})
		c.Spec.Value = builder.JSON(map[string]any{
			"host": "vault.secret(where.host)", "username": "vault.secret(db.username)", "password": "vault.secret(db.password)",
			"report": "vault.secret(static.password)", "ttl": "vault.secret(static.ttl)",
		})
		c.Spec.Files = []v1alpha1.ConnectionFile{
			{Path: "username", Value: "vault.secret(db.username)"}, {Path: "password", Value: "vault.secret(db.password)"},
			{Path: "host", Value: "vault.secret(where.host)"}, {Path: "ttl", Value: "vault.secret(static.ttl)"},
			{Path: "both", Value: "vault.secret(db.username) vault.secret(static.username) vault.secret(static.ttl)"},
		}
		create(c)
		v := volume("db").mounted(caller)
		first := v.files
		kept := func() {
			GinkgoHelper()
			Expect(v.files).To(HaveKeyWithValue("username", first["username"]))
			Expect(v.files).To(HaveKeyWithValue("password", first["password"]))
			Expect(users()).To(HaveLen(before + 1))
		}
		By("a ttl that counts down")
		Eventually(func() string { Expect(v.resolve(caller)).To(Succeed()); return v.files["ttl"] }).ShouldNot(Equal(first["ttl"]))
		kept()
		Expect(v.files).To(HaveKeyWithValue("both", first["both"]), "beside a dynamic secret it stays as it was")

		By("another secret, and another file")
		vault.PutKV("secret/data/"+namespace+"/host", map[string]any{"host": "two"})
		Eventually(func() string { Expect(v.resolve(caller)).To(Succeed()); return v.files["host"] }).Should(Equal("two"))
		kept()
		update(c, func(c *v1alpha1.Connection) {
			c.Spec.RefreshInterval = &metav1.Duration{Duration: 6 * time.Second}
			c.Spec.Files[2].Value = "more vault.secret(where.host)"
			c.Labels = map[string]string{"a": "b"}
		})
		Eventually(func() string { Expect(v.resolve(caller)).To(Succeed()); return v.files["host"] }).Should(Equal("more two"))
		kept()

		By("an edit of the VaultConfig, and another replica")
		reconfigure(config, func(c *v1alpha1.VaultConfig) { c.Spec.EnginePath = "secret" })
		other, err := cp.StartController(ctx, "sallyport-controller-kept", log)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { Expect(other.Stop()).To(Succeed()) })
		Eventually(func() error { return v.resolve(newCaller(other)) }).Should(Succeed())
		kept()

		By("a response that did not reach the node")
		lost := v.leases
		v.revision = "former"
		Expect(v.resolve(caller)).To(Succeed())
		Expect(v.files["username"]).NotTo(Equal(first["username"]), "what the volume holds is not known")
		Expect(lost).NotTo(BeEmpty())

		By("an edit of the files themselves")
		second := v.files
		update(c, func(c *v1alpha1.Connection) { c.Spec.Files[1].Value = "vault.secret(db.password)\n" })
		Eventually(func() string { Expect(v.resolve(caller)).To(Succeed()); return v.files["password"] }).Should(HaveSuffix("\n"))
		Expect(v.files["username"]).NotTo(Equal(second["username"]), "a user and its password belong together")
		Expect(v.files["both"]).To(HavePrefix(v.files["username"]))
		Expect(database.Login(v.files["username"], strings.TrimSuffix(v.files["password"], "\n"))).To(Succeed())
		Expect(caller.release(v.leases)).To(Succeed())
	})

	It("makes others when something else in the files changed, and gives the former back later", func() {
		vault.PutKV("secret/data/"+namespace+"/host", map[string]any{"host": "one"})
		create(withHost(creds("db", "app", func(c *v1alpha1.Connection) {
			c.Spec.Files = []v1alpha1.ConnectionFile{
				{Path: "dsn", Template: "{{ .username }}@{{ .host }}"}, {Path: "username", Value: "vault.secret(db.username)"},
				{Path: "password", Value: "vault.secret(db.password)"}, {Path: "host", Value: "vault.secret(where.host)"},
			}
		})))
		v := volume("db").mounted(caller)
		former := v.files
		vault.PutKV("secret/data/"+namespace+"/host", map[string]any{"host": "two"})
		Eventually(func() string { Expect(v.resolve(caller)).To(Succeed()); return v.files["host"] }).Should(Equal("two"))
		Expect(login(v)).To(Succeed())
		Expect(database.Login(former["username"], former["password"])).To(Succeed())
		Expect(caller.release(v.leases)).To(Succeed())
		Eventually(func() error { return database.Login(former["username"], former["password"]) }).Should(MatchError(env.ErrPostgresLogin))
		Eventually(func() error { return login(v) }).Should(MatchError(env.ErrPostgresLogin))
	})

	It("makes nothing where something else is wrong, and gives back what cannot be used", func() {
		before := len(users())
		create(
			creds("wrong-key", "app", func(c *v1alpha1.Connection) {
				c.Spec.VaultSecrets[0].Name = "db"
				c.Spec.VaultSecrets = append(c.Spec.VaultSecrets, builder.VaultSecret("other", namespace+"/none"))
				c.Spec.Value = builder.JSON(map[string]any{"password": "vault.secret(db.password)", "other": "vault.secret(other.key)"})
			}),
			creds("no-such-key", "app", func(c *v1alpha1.Connection) {
				c.Spec.Value = builder.JSON(map[string]any{"password": "vault.secret(pasword)"})
			}),
		)
		_, err := mountEventually(caller, newPod(namespace, map[string]string{"connection": "wrong-key"}))
		expectFault(err, v1alpha1.ReasonSecretNotFound, "secret/data/"+namespace+"/none")
		Expect(users()).To(HaveLen(before))
		_, err = mountEventually(caller, newPod(namespace, map[string]string{"connection": "no-such-key"}))
		expectFault(err, v1alpha1.ReasonKeyMissing, `no attached secret has the key "pasword"`)
		Eventually(users).Should(HaveLen(before))
	})

	It("makes nothing that a pod's overrides leave no reference to", func() {
		before := len(users())
		create(creds("db", "app"))
		response, err := mountEventually(caller, newPod(namespace, map[string]string{"connection": "db", "value.username": "local", "value.password": "local"}))
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(HaveKeyWithValue("username", "local"))
		Expect(response.GetLeases()).To(BeEmpty())
		Expect(users()).To(HaveLen(before))
	})

	It("says so where the policy lets nothing be given back, and where it lets nothing be made", func() {
		tokenSecretNamed(namespace, "kept", env.TokenOptions{Policies: []string{"leases-kept"}})
		reconfigure(config, func(c *v1alpha1.VaultConfig) { c.Spec.Auth.Token.SecretKeyRef.Name = "kept" })
		create(creds("db", "app"))
		v := volume("db").mounted(caller)
		err := caller.release(v.leases)
		expectFault(err, v1alpha1.ReasonPermissionDenied, `its policy needs "update" on sys/leases/revoke`)
		Expect(login(v)).To(Succeed())
		vault.RevokeLeases(engine + "/creds/app")

		tokenSecretNamed(namespace, "none", env.TokenOptions{})
		reconfigure(config, func(c *v1alpha1.VaultConfig) { c.Spec.Auth.Token.SecretKeyRef.Name = "none" })
		denied := creds("denied", "app")
		create(denied)
		expectCondition(denied, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPermissionDenied, ContainSubstring(`"read" on `+engine+"/creds/app"))
	})

	Describe("with a VaultConfig that logs in", func() {
		var path string

		// withLogin has the VaultConfig log in as bob, for tokens that live for some seconds.
		withLogin := func(ttl string) {
			mount := "userpass-" + namespace
			path = "auth/" + mount + "/login/bob"
			vault.EnableAuth(mount, "userpass")
			DeferCleanup(func() { vault.DisableAuth(mount) })
			vault.Write("auth/"+mount+"/users/bob", map[string]any{"password": "a password of bob", "token_policies": "leases", "token_ttl": ttl})
			create(builder.Secret(namespace, "bob", map[string]string{"password": "a password of bob"}))
			reconfigure(config, func(c *v1alpha1.VaultConfig) {
				c.Spec.Auth = v1alpha1.VaultAuth{UserPass: &v1alpha1.PasswordAuth{
					Mount: v1alpha1.MountPath(mount), Username: "bob", PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: "bob", Key: "password"},
				}}
			})
		}
		It("keeps them when the replica that logged in is gone, and gives them back", func() {
			withLogin("30s")
			create(creds("db", "app"))
			others := vault.TokenTerms(path)
			other, err := cp.StartController(ctx, "sallyport-controller-token", log)
			Expect(err).NotTo(HaveOccurred())
			v, twin := volume("db").mounted(newCaller(other)), volume("db").mounted(newCaller(other))
			Expect(other.Stop()).To(Succeed())
			var left []string
			for accessor := range vault.TokenTerms(path) {
				if _, known := others[accessor]; !known {
					left = append(left, accessor)
				}
			}
			Expect(left).To(HaveLen(1), "the token of the replica that is gone")
			ends := func() time.Time { return vault.TokenTerms(path)[left[0]] }
			first := v.files["username"]

			By("the other replicas renewing the token")
			before := ends()
			Expect(before).NotTo(BeZero())
			Eventually(func() time.Time {
				for _, v := range []*leasedVolume{v, twin} {
					Expect(v.resolve(caller)).To(Succeed())
					Expect(login(v)).To(Succeed())
				}
				return ends()
			}).WithTimeout(90 * time.Second).WithPolling(500 * time.Millisecond).Should(BeTemporally(">", before))
			Expect(v.files["username"]).To(Equal(first))

			By("the password being another, with which this replica cannot log in")
			update(builder.Secret(namespace, "bob", nil), func(s *corev1.Secret) { s.Data["password"] = []byte("wrong") })
			third, err := cp.StartController(ctx, "sallyport-controller-third", log)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(func() { Expect(third.Stop()).To(Succeed()) })
			last := newCaller(third)
			before = ends()
			Eventually(func() time.Time {
				Expect(v.resolve(last)).NotTo(Succeed())
				Expect(login(v)).To(Succeed())
				return ends()
			}).WithTimeout(90 * time.Second).WithPolling(500 * time.Millisecond).Should(BeTemporally(">", before))
			Expect(v.files["username"]).To(Equal(first))
			for _, v := range []*leasedVolume{v, twin} {
				Expect(last.release(v.leases)).To(Succeed())
				Eventually(func() error { return login(v) }).Should(MatchError(env.ErrPostgresLogin))
			}
			Eventually(func() int { return vault.TokensFrom(path) }).WithTimeout(90*time.Second).Should(BeZero(), "nobody renews them any more")
		})

		It("keeps the token of a former login as long as a lease depends on it, and revokes it with the last one", func() {
			withLogin("1h")
			create(creds("db", "app"))
			v, twin := volume("db").mounted(caller), volume("db").mounted(caller)
			Eventually(func() int { return vault.TokensFrom(path) }).Should(Equal(1))
			vault.Write("auth/userpass-"+namespace+"/users/eve", map[string]any{"password": "a password of bob", "token_policies": "leases", "token_ttl": "1h"})
			update(config, func(c *v1alpha1.VaultConfig) { c.Spec.Auth.UserPass.Username = "eve" })
			successor := "auth/userpass-" + namespace + "/login/eve"
			Eventually(func() int { Expect(v.resolve(caller)).To(Succeed()); return vault.TokensFrom(successor) }).Should(Equal(1))
			Expect(login(v)).To(Succeed())
			Expect(login(twin)).To(Succeed())
			Expect(caller.release(twin.leases)).To(Succeed())
			Consistently(func() int { return vault.TokensFrom(path) }).WithTimeout(2 * time.Second).Should(Equal(1))
			Expect(caller.release(v.leases)).To(Succeed())
			Eventually(func() int { return vault.TokensFrom(path) }).Should(BeZero())
		})
	})

	Describe("that is deleted together with its VaultConfig", func() {
		// gone deletes objects, the VaultConfig among them, and waits until the replica's cache knows.
		gone := func(objects ...client.Object) {
			GinkgoHelper()
			witness := builder.Connection(namespace, "witness", map[string]any{"a": "vault.secret(b)"}, builder.WithSecret(namespace+"/none"))
			create(witness)
			asks := newPod(namespace, map[string]string{"connection": "witness"})
			for _, object := range objects {
				Expect(cp.Client.Delete(ctx, object)).To(Succeed())
				Eventually(func() error { return cp.Client.Get(ctx, client.ObjectKeyFromObject(object), object) }).ShouldNot(Succeed())
			}
			Eventually(func() bool {
				_, err := caller.mount(asks)
				return fault.Is(err, v1alpha1.ReasonConfigNotFound)
			}).Should(BeTrue())
		}
		authority := func() *corev1.ConfigMap {
			ca := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ca"}, Data: map[string]string{"ca.crt": vault.CACertificate()}}
			create(ca)
			reconfigure(config, func(c *v1alpha1.VaultConfig) {
				c.Spec.CACertificate = ""
				c.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "ca", Key: "ca.crt"}}
			})
			return ca
		}
		secret := func(name string) *corev1.Secret {
			return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		}
		expectGivenBack := func(v *leasedVolume) {
			GinkgoHelper()
			before := leaseMetric("released")
			Expect(caller.release(v.leases)).To(Succeed())
			Eventually(func() error { return login(v) }).Should(MatchError(env.ErrPostgresLogin))
			Expect(leaseMetric("released") - before).To(BeEquivalentTo(1))
		}

		It("gives back what it made, also when Secret and CA go first", func() {
			ca := authority()
			c := creds("db", "app")
			create(c)
			v, other := volume("db").mounted(caller), volume("db").mounted(caller)
			gone(secret("vault-token"), ca, config, c)
			Expect(login(v)).To(Succeed(), "the pod may be at work yet")
			expectGivenBack(v)
			expectGivenBack(other)
			before := leaseMetric("released")
			Expect(caller.release(v.leases)).To(Succeed(), "once more changes nothing")
			Expect(leaseMetric("released") - before).To(BeNumerically("<=", 1))
		})

		It("gives back what was made with a login, and leads to no other login", func() {
			mount := "userpass-" + namespace
			vault.EnableAuth(mount, "userpass")
			DeferCleanup(func() { vault.DisableAuth(mount) })
			vault.Write("auth/"+mount+"/users/bob", map[string]any{"password": "a password of bob", "token_policies": "leases"})
			bob := builder.Secret(namespace, "bob", map[string]string{"password": "a password of bob"})
			create(bob)
			reconfigure(config, func(c *v1alpha1.VaultConfig) {
				c.Spec.Auth = v1alpha1.VaultAuth{UserPass: &v1alpha1.PasswordAuth{
					Mount: v1alpha1.MountPath(mount), Username: "bob", PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: "bob", Key: "password"},
				}}
			})
			c := creds("db", "app")
			create(c)
			v := volume("db").mounted(caller)
			tokens := vault.TokensFrom("auth/" + mount + "/login/bob")
			gone(config, bob, c)
			Expect(login(v)).To(Succeed())
			expectGivenBack(v)
			Expect(vault.TokensFrom("auth/" + mount + "/login/bob")).To(BeNumerically("<=", tokens))
		})

		It("says and counts that it is left when nobody knows a token for it any more", func() {
			create(creds("db", "app"))
			v := volume("db").mounted(caller)
			gone(config)
			// It has never seen the VaultConfig. One whose watch is behind could give the lease back.
			other, err := cp.StartController(ctx, "sallyport-controller-left", log)
			Expect(err).NotTo(HaveOccurred())
			released, left := leaseMetric("released"), leaseMetric("left")
			expectFault(newCaller(other).release(v.leases), v1alpha1.ReasonNoResolver, "did not answer") // its port is another
			Expect(leaseMetric("left")).To(Equal(left), "the one that did not answer can give it back")
			expectFault(newCaller(other, alone(other)).release(v.leases), v1alpha1.ReasonConfigNotFound, "does not exist any more")
			Expect(other.Stop()).To(Succeed())
			Expect(leaseMetric("released")).To(Equal(released))
			Expect(leaseMetric("left") - left).To(BeEquivalentTo(1))
			Expect(login(v)).To(Succeed())
			expectGivenBack(v)
		})

		It("gives back what it made with a login while no controller ran, though nothing of it is left", func() {
			mount := "userpass-" + namespace
			vault.EnableAuth(mount, "userpass")
			DeferCleanup(func() { vault.DisableAuth(mount) })
			vault.Write("auth/"+mount+"/users/bob", map[string]any{"password": "a password of bob", "token_policies": "leases"})
			bob, ca := builder.Secret(namespace, "bob", map[string]string{"password": "a password of bob"}), authority()
			create(bob)
			reconfigure(config, func(c *v1alpha1.VaultConfig) {
				c.Spec.Auth = v1alpha1.VaultAuth{UserPass: &v1alpha1.PasswordAuth{
					Mount: v1alpha1.MountPath(mount), Username: "bob", PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: "bob", Key: "password"},
				}}
			})
			c := creds("db", "app")
			create(c)
			v, logins := volume("db").mounted(caller), vault.TokensFrom("auth/"+mount+"/login/bob")
			gone(bob, ca, config, c)
			// It has never seen the VaultConfig, as one that starts when the namespace is gone.
			later, err := cp.StartController(ctx, "sallyport-controller-later", log)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(func() { Expect(later.Stop()).To(Succeed()) })
			left, released := leaseMetric("left"), leaseMetric("released")
			Expect(newCaller(later, alone(later)).release(v.leases)).To(Succeed())
			Eventually(func() error { return login(v) }).Should(MatchError(env.ErrPostgresLogin))
			Expect(leaseMetric("released") - released).To(BeEquivalentTo(1))
			Expect(leaseMetric("left")).To(Equal(left))
			Expect(vault.TokensFrom("auth/" + mount + "/login/bob")).To(BeNumerically("<=", logins))
		})

		It("gives back what it made before it was made again", func() {
			create(creds("db", "app"))
			v, idle := volume("db").mounted(caller), volume("db").mounted(caller)
			gone(config)
			former := v.files
			config = vault.Config(namespace, "main")
			create(config)
			Eventually(func() error { return v.resolve(caller) }).Should(Succeed())
			Expect(database.Login(former["username"], former["password"])).To(Succeed())
			Expect(login(v)).To(Succeed())
			expectGivenBack(idle)
			Expect(caller.release(v.leases)).To(Succeed())
			Eventually(users).ShouldNot(ContainElements(former["username"], v.files["username"]))
		})

		It("gives back what it made at the Vault that it led to before an edit", func() {
			create(creds("db", "app"))
			v := volume("db").mounted(caller)
			update(config, func(c *v1alpha1.VaultConfig) { c.Spec.URL = "https://vault.invalid:8200" })
			expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonVaultUnreachable, Not(BeEmpty()))
			expectGivenBack(v)
		})
	})

	It("gives leases of one volume to no other, and takes no others for leases", func() {
		create(creds("db", "app"))
		one, two := volume("db").mounted(caller), volume("db").mounted(caller)
		one.leases, two.leases = two.leases, one.leases
		expectFault(one.resolve(caller), v1alpha1.ReasonNotAllowed, "belong to another volume")
		one.leases, two.leases = two.leases, one.leases
		elsewhere := newCaller(replica)
		stranger, err := cp.CreateNode(ctx, "node-"+namespace)
		Expect(err).NotTo(HaveOccurred())
		token, err := stranger.Token(ctx)
		Expect(err).NotTo(HaveOccurred())
		elsewhere.useToken(token)
		expectFault(elsewhere.release(one.leases), v1alpha1.ReasonNotAllowed, "belong to a volume of another node")
		expectFault(caller.release([]byte("forged")), v1alpha1.ReasonInvalidRequest, "sealed with a key that is gone")
		Expect(login(one)).To(Succeed())
		Expect(caller.release(one.leases)).To(Succeed())
		Expect(caller.release(two.leases)).To(Succeed())
	})

	It("is not held up by a Vault that hangs, whose own volumes hear why", func() {
		create(creds("db", "app"))

		By("having a tenant's Vault hang, which made three leases for each of twenty volumes")
		own := namespace
		namespace = newNamespace()
		proxy, err := env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"leases"}})
		create(vault.Config(namespace, "main", builder.WithURL(proxy.URL())))
		create(creds("db", "app", func(c *v1alpha1.Connection) {
			c.Spec.VaultSecrets[0].Name = "one"
			for _, name := range []string{"two", "three"} {
				more := *c.Spec.VaultSecrets[0].DeepCopy()
				more.Name, more.SecretPath = name, "creds/"+map[string]string{"two": "brief", "three": "capped"}[name]
				c.Spec.VaultSecrets = append(c.Spec.VaultSecrets, more)
			}
			c.Spec.Value = builder.JSON(map[string]any{
				"one": "vault.secret(one.password)", "two": "vault.secret(two.password)", "three": "vault.secret(three.password)",
			})
		}))
		var hostile []*leasedVolume
		for range 20 {
			hostile = append(hostile, volume("db").mounted(caller))
		}
		namespace = own
		// Each release of the hanging Vault's ends by itself after a while. Victims that are served before any of them has
		// ended waited for none; a stall of the machine may leave that open.
		for tries, open := 1, true; open; tries++ {
			Expect(tries).To(BeNumerically("<=", 5), "each time a release of the hanging Vault's ended first")
			victims := []*leasedVolume{volume("db").mounted(caller), volume("db").mounted(caller), volume("db").mounted(caller)}
			proxy.Inject(env.Fault{Hang: true})
			proxy.Reset()
			failed := make(chan error, len(hostile))
			for _, v := range hostile {
				go func() { failed <- caller.release(v.leases) }()
			}
			go func() { _, _ = caller.mount(hostile[0].pod) }()
			Eventually(proxy.Counts).Should(HaveKey("POST sys/leases/revoke"))
			for _, v := range victims {
				Expect(v.resolve(caller)).To(Succeed())
				Expect(caller.release(v.leases)).To(Succeed())
				Eventually(func() error { return login(v) }).Should(MatchError(env.ErrPostgresLogin))
			}
			open = len(failed) > 0
			for range hostile {
				expectFault(<-failed, v1alpha1.ReasonVaultUnreachable, "")
			}
			proxy.Heal()
			Eventually(func() error { return hostile[0].resolve(caller) }).Should(Succeed())
		}
		for _, v := range hostile {
			Eventually(func() error { return caller.release(v.leases) }).Should(Succeed())
		}
	})

	It("is for pods only", func() {
		t := builder.VaultTask(namespace, "copy", v1alpha1.OperationGenericWrite, engine+"/rotate-root/none", builder.WithData(map[string]v1alpha1.TaskValue{
			"password": v1alpha1.TaskValue(`vault.secret(main:"creds/app".password)`),
		}))
		reconfigure(config, func(c *v1alpha1.VaultConfig) { c.Spec.EnginePath = engine })
		before := len(users())
		create(t)
		expectCondition(t, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidRequest, ContainSubstring("is made for each reader"))
		Expect(users()).To(HaveLen(before))
	})
})
