package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

// database is a real PostgreSQL whose users Vault makes, and what pods that mount a Connection to it see of that.
type database struct {
	*env.Postgres
	engine string

	mu sync.Mutex
	// users that each pod has had, in order, by the pod's name.
	users    map[string][]string
	failures []string
	watches  map[string]context.CancelFunc
	running  sync.WaitGroup
}

// newDatabase gives a tenant a database engine at which brief users live for half a minute and for a minute if they are
// renewed, those of one, two and five minutes for a day if they are, and lasting ones for an hour, and a VaultConfig
// "login" whose tokens die after a minute. That a user is gone says only of a lasting one that it was given back.
func newDatabase(ctx context.Context, t *tenant) *database {
	GinkgoHelper()
	server, err := env.StartPostgres(ctx, "")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(server.Close)
	d := &database{Postgres: server, engine: "database-" + t.namespace, users: map[string][]string{}, watches: map[string]context.CancelFunc{}}
	DeferCleanup(d.stopWatching)
	_, password := env.MountDatabase(vault, d.engine, server, map[string]env.DatabaseRole{
		"brief":   {DefaultTTL: 30 * time.Second, MaxTTL: time.Minute},
		"minute":  {DefaultTTL: time.Minute, MaxTTL: 24 * time.Hour},
		"two":     {DefaultTTL: 2 * time.Minute, MaxTTL: 24 * time.Hour},
		"five":    {DefaultTTL: 5 * time.Minute, MaxTTL: 24 * time.Hour},
		"lasting": {DefaultTTL: time.Hour, MaxTTL: 24 * time.Hour},
	})
	canaries.forbid("the password of Vault at PostgreSQL", password)
	DeferCleanup(func(ctx SpecContext) { Expect(vault.Sys().UnmountWithContext(ctx, d.engine)).To(Succeed()) })
	Expect(vault.Sys().PutPolicyWithContext(ctx, t.namespace, fmt.Sprintf(`path "%s/creds/*" { capabilities = ["read"] }
		path "sys/leases/revoke" { capabilities = ["update"] }`, d.engine))).To(Succeed())

	mount := "userpass-" + t.namespace
	login := t.withLogin(ctx, mount)
	_, err = vault.Logical().WriteWithContext(ctx, "auth/"+mount+"/users/bob", map[string]any{"token_ttl": "30s", "token_max_ttl": "60s"})
	Expect(err).NotTo(HaveOccurred())
	d.connect(ctx, t, "brief", login.Name, "brief")
	d.connect(ctx, t, "lasting", mainConfig, "lasting")
	return d
}

// connect gives a tenant a Connection with users of a role, which Vault makes for a VaultConfig.
func (d *database) connect(ctx context.Context, t *tenant, name, config, role string) *v1alpha1.Connection {
	GinkgoHelper()
	secret := v1alpha1.VaultSecret{
		VaultConfigRef: v1alpha1.VaultConfigReference{Name: config}, EnginePath: d.engine, SecretPath: "creds/" + role,
	}
	value := map[string]any{"username": "vault.secret(username)", "password": "vault.secret(password)"}
	connection := t.connection(name, value, secret)
	connection.Spec.Type = "POSTGRESQL"
	create(ctx, connection)
	expectReady(ctx, connection)
	return connection
}

// expectNoLeases waits until Vault has no lease of a role.
func (d *database) expectNoLeases(ctx context.Context, role string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		list, err := vault.Logical().ListWithContext(ctx, "sys/leases/lookup/"+d.engine+"/creds/"+role)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(list).To(BeNil(), "leases of %s in Vault", role)
	}).WithTimeout(eventual).WithPolling(time.Second).Should(Succeed())
}

// made are the users that Vault has made in the database and not ended.
func (d *database) made() []string {
	return slices.DeleteFunc(d.Roles(), func(name string) bool { return !strings.HasPrefix(name, "v-") })
}

// credential is a user of the database.
type credential struct{ username, password string }

// watch logs in several times a second, from now on until unwatch, as a program in the pod would that reads its files
// each time. Every failure is kept.
func (d *database) watch(pod *corev1.Pod) {
	GinkgoHelper()
	d.repeat(pod, func(volume string, _ credential) error { return d.login(pod.Name, volume) })
}

// watchOnce is watch for two programs: one that reads its files each time, and one that reads them once, at its start,
// and then has no other credential.
func (d *database) watchOnce(pod *corev1.Pod) {
	GinkgoHelper()
	d.repeat(pod, func(volume string, first credential) error {
		latest, err := d.read(pod.Name, volume)
		if err == nil {
			err = d.Login(latest.username, latest.password)
		}
		if latest == first {
			return err
		}
		if once := d.Login(first.username, first.password); once != nil {
			err = errors.Join(err, fmt.Errorf("with what was read once, at the start: %w", once))
		}
		return err
	})
}

// repeat calls login with the pod's volume, and with what it held at first, until unwatch.
func (d *database) repeat(pod *corev1.Pod, login func(volume string, first credential) error) {
	GinkgoHelper()
	volume := inPod(pod, mountPath)
	first, err := d.read(pod.Name, volume)
	Expect(err).NotTo(HaveOccurred(), "pod %s", pod.Name)
	Expect(d.Login(first.username, first.password)).To(Succeed(), "pod %s", pod.Name)
	ctx, cancel := context.WithCancel(context.Background())
	d.watches[pod.Name] = cancel
	d.running.Go(func() {
		for ctx.Err() == nil {
			if err := login(volume, first); err != nil && ctx.Err() == nil {
				d.mu.Lock()
				d.failures = append(d.failures, fmt.Sprintf("%s pod %s: %v", time.Now().Format(time.TimeOnly), pod.Name, err))
				d.mu.Unlock()
			}
			time.Sleep(200 * time.Millisecond)
		}
	})
}

func (d *database) unwatch(pod *corev1.Pod) { d.watches[pod.Name]() }

func (d *database) stopWatching() {
	for _, stop := range d.watches {
		stop()
	}
	d.running.Wait()
}

// login logs in with what a volume holds now.
func (d *database) login(pod, volume string) error {
	found, err := d.read(pod, volume)
	if err != nil {
		return err
	}
	return d.Login(found.username, found.password)
}

// read reads the user and the password in one go.
func (d *database) read(pod, volume string) (credential, error) {
	var username, password []byte
	var errs [2]error
	for range 3 { // the files may be replaced between the two reads, or the directory that they were in be gone
		data, err := os.Readlink(filepath.Join(volume, "..data"))
		if err != nil {
			return credential{}, err
		}
		username, errs[0] = os.ReadFile(filepath.Join(volume, data, "username"))
		password, errs[1] = os.ReadFile(filepath.Join(volume, data, "password"))
		if errs == [2]error{} {
			break
		}
	}
	if err := errors.Join(errs[:]...); err != nil {
		return credential{}, err
	}
	d.mu.Lock()
	if known := d.users[pod]; !slices.Contains(known, string(username)) {
		d.users[pod] = append(known, string(username))
		canaries.forbid("the password of a user that Vault made", string(password))
	}
	d.mu.Unlock()
	return credential{string(username), string(password)}, nil
}

// had are the users that a pod has had, in order.
func (d *database) had(pod *corev1.Pod) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.users[pod.Name])
}

func (d *database) failed() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.failures)
}

// expectEnds waits until no user is left that a pod had, and others have theirs.
func (d *database) expectEnds(ctx context.Context, limit time.Duration, gone *corev1.Pod, others ...*corev1.Pod) {
	GinkgoHelper()
	Eventually(ctx, d.made).WithTimeout(limit).WithPolling(time.Second).ShouldNot(ContainElement(BeElementOf(d.had(gone))))
	for _, other := range others {
		Expect(d.made()).To(ContainElement(BeElementOf(d.had(other))))
	}
}

// forbidLeases adds the IDs of all leases of a role to what nothing but Vault may say.
func (d *database) forbidLeases(ctx context.Context, role string) {
	GinkgoHelper()
	list, err := vault.Logical().ListWithContext(ctx, "sys/leases/lookup/"+d.engine+"/creds/"+role)
	Expect(err).NotTo(HaveOccurred())
	Expect(list).NotTo(BeNil(), "leases of %s", role)
	ids, _ := list.Data["keys"].([]any)
	Expect(ids).NotTo(BeEmpty())
	for _, id := range ids {
		canaries.forbidLease(fmt.Sprint(id))
	}
}

var _ = Describe("Credentials that Vault makes at a real PostgreSQL", Ordered, Serial, func() {
	var (
		t                    *tenant
		d                    *database
		brief, other, steady *corev1.Pod
	)

	BeforeAll(func(ctx SpecContext) {
		expectProductReady(ctx)
		t = newReadyTenant(ctx)
		d = newDatabase(ctx, t)
		steady = t.run(ctx, "lasting")
		d.watch(steady)
	}, NodeTimeout(4*eventual))

	AfterEach(func() { Expect(d.failed()).To(BeEmpty(), "logins with what stood in the files at that moment") })

	It("are each pod's own, and end with it", func(ctx SpecContext) {
		pod := t.run(ctx, "lasting")
		d.watch(pod)
		Expect(d.had(pod)).NotTo(Equal(d.had(steady)))
		Expect(d.made()).To(ConsistOf(slices.Concat(d.had(pod), d.had(steady))))
		d.forbidLeases(ctx, "lasting")
		d.unwatch(pod)
		remove(ctx, pod)
		d.expectEnds(ctx, eventual, pod, steady)
	}, SpecTimeout(3*eventual))

	It("go on when the node plugin is killed, and end with a pod that is deleted meanwhile", func(ctx SpecContext) {
		pod := t.run(ctx, "lasting")
		d.watch(pod)
		d.unwatch(pod)
		keepMetrics(ctx)
		kill(plugin(ctx))
		remove(ctx, pod)
		d.expectEnds(ctx, atLast, pod, steady)
	}, SpecTimeout(2*atLast))

	It("go on when the leader is killed, and when all replicas are replaced", func(ctx SpecContext) {
		brief, other = t.start(ctx, "brief"), t.start(ctx, "brief")
		for _, pod := range []*corev1.Pod{brief, other} {
			expectRuns(ctx, pod, eventual)
			d.watch(pod)
		}
		victim := replica(ctx, true)
		keepMetrics(ctx)
		kill(victim)
		remove(ctx, victim, client.GracePeriodSeconds(0))
		expectProductReady(ctx)
		rollController(ctx)
		d.forbidLeases(ctx, "brief")
		pod := t.run(ctx, "lasting") // of a brief one nobody could tell whether it was given back
		d.watch(pod)
		d.unwatch(pod)
		remove(ctx, pod)
		d.expectEnds(ctx, eventual, pod, brief, other, steady)
	}, SpecTimeout(3*atLast))

	It("are replaced in time when neither they nor the token that made them can be renewed any more", func(ctx SpecContext) {
		for _, pod := range []*corev1.Pod{brief, other} {
			Eventually(ctx, func() []string { return d.had(pod) }).WithTimeout(atLast).WithPolling(time.Second).Should(HaveLen(3))
			first := d.had(pod)[0]
			Eventually(ctx, d.made).WithTimeout(atLast).WithPolling(time.Second).ShouldNot(ContainElement(first))
		}
		d.forbidLeases(ctx, "brief")
		Expect(d.had(steady)).To(HaveLen(1), "its token and its user live longer")
	}, SpecTimeout(3*atLast))

	It("end with a pod that is deleted while Vault is down, once Vault is back", func(ctx SpecContext) {
		d.stopWatching() // without Vault nobody renews a lease of half a minute
		component(ctx, "stop", "vault")
		DeferCleanup(func(ctx SpecContext) {
			component(ctx, "start", "vault")
			component(ctx, "vault-unseal")
		}, NodeTimeout(eventual))
		remove(ctx, steady)
		Expect(d.made()).To(ContainElement(BeElementOf(d.had(steady))), "nobody could end it")
		component(ctx, "start", "vault")
		component(ctx, "vault-unseal")
		d.expectEnds(ctx, atLast, steady)
	}, SpecTimeout(2*atLast))

	It("leave nothing behind", func(ctx SpecContext) {
		lasting := t.run(ctx, "lasting")
		d.watch(lasting)
		d.unwatch(lasting)
		for _, pod := range []*corev1.Pod{brief, other, lasting} {
			remove(ctx, pod)
		}
		Eventually(ctx, d.made).WithTimeout(atLast).WithPolling(time.Second).Should(BeEmpty(), "users in PostgreSQL")
		d.expectNoLeases(ctx, "lasting")
	}, SpecTimeout(2*atLast))
})
