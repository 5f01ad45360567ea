package integration

import (
	"encoding/json"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// The last word of the suite: whatever the specs did, no secret value and no token stands in a log, a trace, an event or
// an object.

var _ = AfterSuite(func() {
	if cp == nil || cp.Client == nil {
		return
	}
	texts := map[string]string{"logs": logs.String(), "traces": traces.Bytes()}
	for kind, list := range map[string]client.ObjectList{
		"VaultConfigs": &v1alpha1.VaultConfigList{}, "Connections": &v1alpha1.ConnectionList{}, "VaultTasks": &v1alpha1.VaultTaskList{},
		"events": &eventsv1.EventList{}, "ConfigMaps": &corev1.ConfigMapList{}, "pods": &corev1.PodList{},
	} {
		Expect(cp.Client.List(ctx, list)).To(Succeed())
		encoded, err := json.Marshal(list)
		Expect(err).NotTo(HaveOccurred())
		texts[kind] = string(encoded)
	}
	families, err := metrics.Registry.Gather()
	Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		texts["metrics"] += family.String() + "\n"
	}
	// The search can find something, and everything was there to be searched.
	Expect(texts["logs"]).To(ContainSubstring("serving the resolver"))
	Expect(texts["pods"]).To(ContainSubstring("sallyport-node-" + node.Name))
	Expect(texts["ConfigMaps"]).To(ContainSubstring("BEGIN CERTIFICATE"))
	Expect(texts["metrics"]).To(ContainSubstring("controller_runtime_reconcile_total"))
	Expect(texts["traces"]).To(ContainSubstring("vault "))
	Expect(texts["traces"]).NotTo(Or(ContainSubstring("/data/"), ContainSubstring("/creds/")), "no path, and no lease")
	for where, text := range texts {
		// Nearly all values begin alike, so that one look tells of them all.
		hasCanary := strings.Contains(text, canaryPrefix)
		for value, from := range canaries.values {
			if strings.HasPrefix(value, canaryPrefix) && !hasCanary {
				continue
			}
			if at := strings.Index(text, value); at >= 0 {
				Fail("a secret of " + from + " stands in the " + where + ": …" + around(text, at))
			}
		}
	}
	Expect(texts["logs"]).NotTo(ContainSubstring("Observed a panic"), "a reconciler panicked")
})

// around is the text before and after a find, with nothing in it that may never appear.
func around(text string, at int) string {
	part := text[max(0, at-600):min(len(text), at+600)]
	for value := range canaries.values {
		part = strings.ReplaceAll(part, value, "[secret]")
	}
	return part
}
