package lease

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/builder"
)

// noSessions are those of a replica that has logged in nowhere.
func noSessions(t *testing.T) *session.Sessions {
	t.Helper()
	sessions, err := session.NewSessions(session.Options{Reader: fake.NewClientBuilder().Build()})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return sessions
}

// A revocation is followed as far as the VaultConfig, which does not exist here: from there on it is Vault's, as in
// test/integration.
func TestWhatNoVolumeCameWithIsRevokedWhenItsPodIsGone(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	pod := builder.Pod("shop", "web", func(p *corev1.Pod) { p.UID = "uid" })
	objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(pod).Build()
	clk := testingclock.NewFakePassiveClock(noon)
	m := NewManager(Options{Objects: objects, Uncached: objects, Sessions: noSessions(t), Clock: clk, Log: logr.Discard()})
	volume := Volume{ID: "csi-1", PodUID: "uid", PodName: "web", Namespace: "shop"}
	waiting := func() int { return len(m.pending.before(clk.Now().Add(time.Hour))) }
	track := func(id string, duration time.Duration) {
		m.TrackPending(&VolumeLeases{Volume: volume}, []DynamicSecret{dynamicSecret(id, "s", duration, true, session.TokenTerm{})})
	}

	track("a", time.Hour)
	m.sweep(t.Context())
	g.Expect(waiting()).To(Equal(1), "it may come yet")
	clk.SetTime(noon.Add(3 * time.Minute))
	m.sweep(t.Context())
	g.Expect(waiting()).To(Equal(1), "the pod is there, and may use it")
	pod.UID = "another"
	g.Expect(objects.Delete(t.Context(), pod.DeepCopy())).To(Succeed())
	pod.ResourceVersion = ""
	g.Expect(objects.Create(t.Context(), pod.DeepCopy())).To(Succeed())
	m.sweep(t.Context())
	g.Expect(waiting()).To(BeZero(), "that is another pod of the same name")

	volume.PodUID = "another"
	track("b", time.Minute)
	clk.SetTime(clk.Now().Add(3 * time.Minute))
	m.sweep(t.Context())
	g.Expect(waiting()).To(BeZero(), "what has run out is forgotten, whatever the pod")

	m.TrackPending(&VolumeLeases{Volume: volume}, []DynamicSecret{{Name: "c", Config: config, Issued: &secrets.Issued{}}})
	g.Expect(waiting()).To(BeZero(), "there is nothing to revoke of what has no lease")
}

func TestAVolumeThatComesWithItClaimsIt(t *testing.T) {
	g := NewWithT(t)
	objects := fake.NewClientBuilder().Build()
	m := NewManager(Options{Objects: objects, Uncached: objects, Sessions: noSessions(t), Clock: testingclock.NewFakePassiveClock(noon), Log: logr.Discard()})
	l := volumeLeases()
	m.TrackPending(l, []DynamicSecret{dynamicSecret("a", "s", time.Hour, true, session.TokenTerm{})})
	all := func(Lease) bool { return true }
	g.Expect(m.pending.take(Volume{ID: "csi-2", PodUID: "uid"}, all)).To(BeEmpty(), "another volume of the same pod")
	g.Expect(m.pending.take(Volume{ID: "csi-1", PodUID: "later"}, all)).To(BeEmpty(), "the same volume of a later pod")
	m.RevokeUnclaimed(l)
	g.Expect(m.pending.volumes).To(BeEmpty())
}

func TestWhatCouldNotBeRevokedIsQueued(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	var away atomic.Bool
	away.Store(true)
	objects := interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).Build(), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if away.Load() {
				return errors.New("the API server is away")
			}
			return c.Get(ctx, key, object, options...) // the VaultConfig is gone
		},
	})
	m := NewManager(Options{Objects: objects, Uncached: objects, Sessions: noSessions(t), Clock: testingclock.NewFakePassiveClock(noon), Log: logr.Discard()})
	m.RevokeUndelivered("shop", []DynamicSecret{dynamicSecret("a", "s", time.Hour, true, session.TokenTerm{}), dynamicSecret("b", "s", time.Hour, true, session.TokenTerm{})})
	settled := func() bool { return !m.queue.busy() }
	g.Eventually(settled).Should(BeTrue())
	g.Expect(m.queue.length()).To(Equal(2))
	m.sweep(t.Context())
	g.Eventually(settled).Should(BeTrue())
	g.Expect(m.queue.length()).To(Equal(2), "it is tried again and again")
	away.Store(false)
	m.sweep(t.Context())
	g.Eventually(m.queue.length).Should(BeZero())
}

func TestRenewalsOutliveAResponseThatDidNotArrive(t *testing.T) {
	g := NewWithT(t)
	clk := testingclock.NewFakePassiveClock(noon)
	r := newRenewedTerms(clk)
	h := dynamicSecret("a", "s", time.Hour, true, session.TokenTerm{}).lease(noon)
	renewed := h
	renewed.Since, renewed.Expires = noon.Add(40*time.Minute), noon.Add(100*time.Minute)
	r.record("shop", "a", term{renewed.Since, renewed.Expires})
	brought := h // as the node still has it
	r.apply("shop", &brought)
	g.Expect(brought.Expires).To(Equal(renewed.Expires))
	newer := h // as another replica has it
	newer.Since, newer.Expires = noon.Add(80*time.Minute), noon.Add(140*time.Minute)
	r.apply("shop", &newer)
	g.Expect(newer.Expires).To(Equal(noon.Add(140 * time.Minute)))
	clk.SetTime(noon.Add(99 * time.Minute))
	g.Expect(r.of("shop").Keys()).To(HaveLen(1))
	clk.SetTime(noon.Add(100*time.Minute + 1))
	g.Expect(r.of("shop").Keys()).To(BeEmpty())
}

func TestALeaseThatEndedLongAgoIsNotQueuedForEver(t *testing.T) {
	g := NewWithT(t)
	away := interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("the API server is away")
		},
	})
	clk := testingclock.NewFakePassiveClock(noon)
	m := NewManager(Options{Objects: away, Uncached: away, Sessions: noSessions(t), Clock: clk, Log: logr.Discard()})
	m.RevokeUndelivered("shop", []DynamicSecret{dynamicSecret("a", "s", time.Hour, true, session.TokenTerm{})})
	clk.SetTime(noon.Add(time.Hour + clockTolerance - time.Second))
	m.sweep(t.Context())
	g.Eventually(m.queue.busy).Should(BeFalse())
	g.Expect(m.queue.length()).To(Equal(1), "clocks differ")
	clk.SetTime(noon.Add(time.Hour + clockTolerance))
	m.sweep(t.Context())
	g.Eventually(m.queue.length).Should(BeZero())
}

func TestWhatNobodyCanRevokeIsNotCalledRevoked(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	objects := fake.NewClientBuilder().WithScheme(scheme).Build() // the VaultConfig is gone
	_, keys := keyStore()
	sessions, err := session.NewSessions(session.Options{Reader: objects})
	g.Expect(err).NotTo(HaveOccurred())
	m := NewManager(Options{
		Objects: objects, Uncached: objects, Sessions: sessions, Secrets: keys, Clock: testingclock.NewFakePassiveClock(noon), Log: logr.Discard(),
	})
	encrypted, err := m.encryption.encrypt(t.Context(), volumeLeases())
	g.Expect(err).NotTo(HaveOccurred())
	registry := prometheus.NewRegistry()
	g.Expect(registry.Register(leases)).To(Succeed())
	left := func() (count float64) {
		families, failed := registry.Gather()
		g.Expect(failed).NotTo(HaveOccurred())
		for _, m := range families[0].GetMetric() {
			if m.GetLabel()[0].GetValue() == actionLeft {
				count = m.GetCounter().GetValue()
			}
		}
		return count
	}
	before := left()
	for _, othersRemain := range []bool{true, false} {
		g.Expect(left()).To(Equal(before), "another replica may be able to")
		err = m.RevokeVolume(t.Context(), encrypted, "node", othersRemain)
		g.Expect(fault.Is(err, v1alpha1.ReasonConfigNotFound)).To(BeTrue())
		g.Expect(fault.From(err).Class).NotTo(Equal(fault.ClassTransient), "to try again is of no use")
	}
	g.Expect(left() - before).To(BeEquivalentTo(len(volumeLeases().Leases)))

	away := fault.Transient(v1alpha1.ReasonVaultUnreachable, "away")
	given, failed := outcome([]error{err, nil, away})
	g.Expect(given).To(BeZero())
	g.Expect(fault.From(failed).Class).To(Equal(fault.ClassTransient), "one of them is worth another attempt")
	_, failed = outcome([]error{nil, nil})
	g.Expect(failed).NotTo(HaveOccurred())
}

// A replica that has just started, or whose watch is behind, does not know each VaultConfig.
func TestAVaultConfigIsGoneOnlyIfTheAPIServerSaysSo(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	const nobody = "https://127.0.0.1:1" // an answer needs a Vault: test/integration
	there := builder.VaultConfig("shop", "main", builder.WithURL(nobody), func(c *v1alpha1.VaultConfig) { c.UID = "config" })
	stored := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		there, builder.TokenSecret("shop", there.Spec.Auth.Token.SecretKeyRef.Name, "token")).Build()
	elsewhere := there.DeepCopy()
	elsewhere.Spec.URL = "https://former.example.com"
	for name, cached := range map[string]client.Reader{
		"it is not there yet":                    fake.NewClientBuilder().WithScheme(scheme).Build(),
		"it leads elsewhere, as it did formerly": fake.NewClientBuilder().WithScheme(scheme).WithObjects(elsewhere).Build(),
	} {
		sessions, err := session.NewSessions(session.Options{Reader: stored, AllowedURLs: []string{nobody}})
		g.Expect(err).NotTo(HaveOccurred())
		_, keys := keyStore()
		m := NewManager(Options{
			Objects: cached, Uncached: stored, Sessions: sessions, Secrets: keys, Clock: clock.RealClock{}, Log: logr.Discard(),
		})
		v := volumeLeases()
		for i := range v.Leases {
			v.Leases[i].Config, v.Leases[i].Vault = client.ObjectKeyFromObject(there), session.VaultOf(there)
			v.Leases[i].Expires, v.Leases[i].TokenExpires = time.Time{}, time.Time{}
		}
		encrypted, err := m.encryption.encrypt(t.Context(), v)
		g.Expect(err).NotTo(HaveOccurred())
		err = m.RevokeVolume(t.Context(), encrypted, "node", false)
		g.Expect(fault.Is(err, v1alpha1.ReasonVaultUnreachable)).To(BeTrue(), "%s: %v", name, err)
	}
}
