package server

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	testingclock "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/resolver"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

func TestAPodThatStartedFromMemoryIsToldSo(t *testing.T) {
	g := NewWithT(t)
	recorder := events.NewFakeRecorder(10)
	e := NewPodEvents(recorder, testingclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0)))
	pod := &Authorization{Pod: types.NamespacedName{Namespace: "shop", Name: "web"}, PodUID: "a"}
	served := resolver.FromMemory{
		Read: time.Unix(1_799_999_000, 0), Fault: fault.Transient(v1alpha1.ReasonVaultSealed, "Vault is sealed"),
	}
	registry := prometheus.NewRegistry()
	g.Expect(registry.Register(servedInOutage)).To(Succeed())
	counted := func() float64 {
		families, err := registry.Gather()
		g.Expect(err).NotTo(HaveOccurred())
		return families[0].GetMetric()[0].GetCounter().GetValue()
	}
	before := counted()
	for range 2 { // two volumes
		e.servedFromMemory(pod, served)
	}
	g.Expect(recorder.Events).To(HaveLen(1))
	g.Expect(<-recorder.Events).To(Equal("Warning VaultSealed the volume was made from what was read at 2027-01-15T07:43:20Z " +
		"(spec.outage.serveFor of the VaultConfig): Vault is sealed"))
	g.Expect(counted() - before).To(BeEquivalentTo(2))
}

func TestPodsAreToldOnceForEachReason(t *testing.T) {
	g := NewWithT(t)
	clk := testingclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	recorder := events.NewFakeRecorder(10)
	e := NewPodEvents(recorder, clk)
	mounted := &resolverv1.ResolveRequest{Revision: "r"}
	pod := func(uid string) *Authorization {
		return &Authorization{Pod: types.NamespacedName{Namespace: "shop", Name: "web"}, PodUID: types.UID(uid)}
	}
	told := func() []string {
		var told []string
		for len(recorder.Events) > 0 {
			told = append(told, <-recorder.Events)
		}
		return told
	}
	missing := fault.Waiting(v1alpha1.ReasonKeyMissing, "no such key")

	e.refreshed(pod("a"), mounted, nil)
	e.refreshed(pod("a"), &resolverv1.ResolveRequest{}, missing)
	g.Expect(told()).To(BeEmpty(), "neither a success, nor a first mount, which the kubelet tells of")
	e.refreshed(pod("a"), mounted, fault.Transient(v1alpha1.ReasonVaultSealed, "Vault is sealed"))
	g.Expect(told()).To(BeEmpty(), "it goes away by itself, and all pods have it")

	e.refreshed(pod("a"), mounted, missing)
	g.Expect(told()).To(ConsistOf("Warning KeyMissing the files of the volume stay as they are: no such key"))
	e.refreshed(pod("a"), mounted, missing)
	g.Expect(told()).To(BeEmpty())
	e.refreshed(pod("a"), mounted, fault.Terminal(v1alpha1.ReasonInvalidTemplate, "line 1"))
	e.refreshed(pod("b"), mounted, missing)
	g.Expect(told()).To(HaveLen(2), "another reason, and another pod")
	clk.SetTime(clk.Now().Add(eventInterval))
	e.refreshed(pod("a"), mounted, missing)
	g.Expect(told()).To(HaveLen(1), "it is said again after a while")
}

func TestWhatWasToldIsBounded(t *testing.T) {
	g := NewWithT(t)
	clk := testingclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	e := NewPodEvents(events.NewFakeRecorder(1), clk)
	due := func(namespace, pod string) bool { return e.due(namespace, podReason{uid: types.UID(pod)}) }
	for i := range maxRecentOfNamespace {
		g.Expect(due("greedy", fmt.Sprint(i))).To(BeTrue())
	}
	g.Expect(due("greedy", "one more")).To(BeFalse(), "rather nothing than everything again and again")
	g.Expect(due("victim", "pod")).To(BeTrue())
	clk.SetTime(clk.Now().Add(eventInterval))
	g.Expect(due("greedy", "one more")).To(BeTrue())
	g.Expect(e.recent.Len()).To(Equal(1))
}
