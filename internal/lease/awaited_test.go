package lease

import (
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault"
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
		k.Await(&Ledger{Volume: volume}, []Made{made(id, "s", duration, true, vault.TokenTerm{})})
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

	k.Await(&Ledger{Volume: volume}, []Made{{ID: "c", Issued: &vault.Issued{}}})
	g.Expect(waits()).To(BeZero(), "there is nothing to give back of what has no lease")
}

func TestAVolumeThatComesWithItSettlesIt(t *testing.T) {
	g := NewWithT(t)
	objects := fake.NewClientBuilder().Build()
	k := NewKeeper(Options{Objects: objects, Pods: objects, Clock: testingclock.NewFakePassiveClock(noon), Log: logr.Discard()})
	l := ledger()
	k.Await(l, []Made{made("a", "s", time.Hour, true, vault.TokenTerm{})})
	g.Expect(k.awaited.take(Volume{ID: "csi-2", PodUID: "uid"})).To(BeEmpty(), "another volume of the same pod")
	g.Expect(k.awaited.take(Volume{ID: "csi-1", PodUID: "later"})).To(BeEmpty(), "the same volume of a later pod")
	k.Settle(t.Context(), l)
	g.Expect(k.awaited.volumes).To(BeEmpty())
}
