package lease

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
)

// What is given back is followed as far as the VaultConfig, which does not exist here: from there on it is Vault's, as in test/integration.
func TestWhatNoVolumeCameWithIsGivenBackWhenItsPodIsGone(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid"}}
	objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(pod).Build()
	clk := testingclock.NewFakePassiveClock(noon)
	k := NewKeeper(Options{Objects: objects, Pods: objects, Clock: clk, Log: logr.Discard()})
	volume := Volume{ID: "csi-1", PodUID: "uid", PodName: "web", Namespace: "shop"}
	waits := func() int { return len(k.awaited.older(clk.Now().Add(time.Hour))) }
	await := func(id string, duration time.Duration) {
		k.Await(&Ledger{Volume: volume}, []Made{made(id, "s", duration, true, session.TokenTerm{})})
	}

	await("a", time.Hour)
	k.sweep(t.Context())
	g.Expect(waits()).To(Equal(1), "it may come yet")
	clk.SetTime(noon.Add(3 * time.Minute))
	k.sweep(t.Context())
	g.Expect(waits()).To(Equal(1), "the pod is there, and may use it")
	pod.UID = "another"
	g.Expect(objects.Delete(t.Context(), pod.DeepCopy())).To(Succeed())
	pod.ResourceVersion = ""
	g.Expect(objects.Create(t.Context(), pod.DeepCopy())).To(Succeed())
	k.sweep(t.Context())
	g.Expect(waits()).To(BeZero(), "that is another pod of the same name")

	volume.PodUID = "another"
	await("b", time.Minute)
	clk.SetTime(clk.Now().Add(3 * time.Minute))
	k.sweep(t.Context())
	g.Expect(waits()).To(BeZero(), "what has run out is forgotten, whatever the pod")

	k.Await(&Ledger{Volume: volume}, []Made{{ID: "c", Config: config, Issued: &secrets.Issued{}}})
	g.Expect(waits()).To(BeZero(), "there is nothing to give back of what has no lease")
}

func TestAVolumeThatComesWithItSettlesIt(t *testing.T) {
	g := NewWithT(t)
	objects := fake.NewClientBuilder().Build()
	k := NewKeeper(Options{Objects: objects, Pods: objects, Clock: testingclock.NewFakePassiveClock(noon), Log: logr.Discard()})
	l := ledger()
	k.Await(l, []Made{made("a", "s", time.Hour, true, session.TokenTerm{})})
	all := func(Holding) bool { return true }
	g.Expect(k.awaited.take(Volume{ID: "csi-2", PodUID: "uid"}, all)).To(BeEmpty(), "another volume of the same pod")
	g.Expect(k.awaited.take(Volume{ID: "csi-1", PodUID: "later"}, all)).To(BeEmpty(), "the same volume of a later pod")
	k.Settle(t.Context(), l)
	g.Expect(k.awaited.volumes).To(BeEmpty())
}

func TestWhatCouldNotBeGivenBackIsOwed(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	away := true
	objects := interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).Build(), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if away {
				return errors.New("the API server is away")
			}
			return c.Get(ctx, key, object, options...) // the VaultConfig is gone
		},
	})
	k := NewKeeper(Options{Objects: objects, Pods: objects, Clock: testingclock.NewFakePassiveClock(noon), Log: logr.Discard()})
	k.GiveBack(t.Context(), "shop", []Made{made("a", "s", time.Hour, true, session.TokenTerm{}), made("b", "s", time.Hour, true, session.TokenTerm{})})
	g.Expect(k.awaited.debts).To(HaveLen(2))
	k.sweep(t.Context())
	g.Expect(k.awaited.debts).To(HaveLen(2), "it is tried again and again")
	away = false
	k.sweep(t.Context())
	g.Expect(k.awaited.debts).To(BeEmpty())
}

func TestRenewalsOutliveAnAnswerThatDidNotArrive(t *testing.T) {
	g := NewWithT(t)
	r := renewals{terms: map[string]term{}}
	h := made("a", "s", time.Hour, true, session.TokenTerm{}).holding(noon)
	renewed := h
	renewed.Since, renewed.Expires = noon.Add(40*time.Minute), noon.Add(100*time.Minute)
	r.note(&renewed)
	brought := h // as the node still has it
	r.bring(&brought)
	g.Expect(brought.Expires).To(Equal(renewed.Expires))
	newer := h // as another replica has it
	newer.Since, newer.Expires = noon.Add(80*time.Minute), noon.Add(140*time.Minute)
	r.bring(&newer)
	g.Expect(newer.Expires).To(Equal(noon.Add(140 * time.Minute)))
	r.forget(noon.Add(99 * time.Minute))
	g.Expect(r.terms).To(HaveLen(1))
	r.forget(noon.Add(100 * time.Minute))
	g.Expect(r.terms).To(BeEmpty())
}

func TestALeaseThatEndedLongAgoIsNotOwedForEver(t *testing.T) {
	g := NewWithT(t)
	away := interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("the API server is away")
		},
	})
	clk := testingclock.NewFakePassiveClock(noon)
	k := NewKeeper(Options{Objects: away, Pods: away, Clock: clk, Log: logr.Discard()})
	k.GiveBack(t.Context(), "shop", []Made{made("a", "s", time.Hour, true, session.TokenTerm{})})
	clk.SetTime(noon.Add(time.Hour + clockTolerance - time.Second))
	k.sweep(t.Context())
	g.Expect(k.awaited.debts).To(HaveLen(1), "clocks differ")
	clk.SetTime(noon.Add(time.Hour + clockTolerance))
	k.sweep(t.Context())
	g.Expect(k.awaited.debts).To(BeEmpty())
}
