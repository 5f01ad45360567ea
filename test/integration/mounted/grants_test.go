//go:build linux

package mounted

import (
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// answered is how many requests with a verb for a resource the API server has answered, by its own count.
func answered(verb, resource string) (sum float64) {
	GinkgoHelper()
	content, err := cp.Clients.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	Expect(err).NotTo(HaveOccurred())
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "apiserver_request_total{") && strings.Contains(line, `resource="`+resource+`"`) &&
			strings.Contains(line, `verb="`+verb+`"`) {
			var number float64
			_, err := fmt.Sscan(line[strings.LastIndex(line, " ")+1:], &number)
			Expect(err).NotTo(HaveOccurred())
			sum += number
		}
	}
	return sum
}

// counted is the sum of a counter, of its series with a label of this value.
func counted(registry prometheus.Gatherer, name, label string) (sum float64) {
	GinkgoHelper()
	families, err := registry.Gather()
	Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			if len(metric.GetLabel()) == 1 && metric.GetLabel()[0].GetValue() == label {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return sum
}

var _ = Describe("Refreshes of mounted volumes", func() {
	const volumes, rounds = 5, 4

	It("cost the API server nothing for each, and see changes and withdrawn rights all the same", func() {
		namespace := newNamespace()
		path := "secret/data/" + namespace + "/app"
		former, next := newSecret(), newSecret()
		vault.PutKV(path, map[string]any{"password": former})
		c := builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)"},
			builder.WithSecret(namespace+"/app"), builder.WithShortestRefresh)
		create(c)
		expectReady(c, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		full := counted(metrics.Registry, "sallyport_resolver_authorizations_total", "Pod")
		dirs := make([]string, volumes)
		for i := range dirs {
			_, dirs[i] = mount(namespace, "db")
		}
		Expect(counted(metrics.Registry, "sallyport_resolver_authorizations_total", "Pod")-full).To(BeEquivalentTo(volumes), "each mount in full")

		refreshes := func() float64 {
			return counted(plugin.Registry, "sallyport_node_refreshes_total", v1alpha1.ReasonSucceeded)
		}
		before, reviews, reads := refreshes(), answered("POST", "tokenreviews"), answered("GET", "pods")
		byGrant := counted(metrics.Registry, "sallyport_resolver_authorizations_total", "Grant")
		together := counted(metrics.Registry, "sallyport_resolver_calls_total", "ResolveEach")
		alone := counted(metrics.Registry, "sallyport_resolver_calls_total", "Resolve")
		began := time.Now()
		Eventually(refreshes, 2*time.Minute).Should(BeNumerically(">=", before+rounds*volumes))
		Expect(counted(metrics.Registry, "sallyport_resolver_calls_total", "ResolveEach")-together).To(
			And(BeNumerically(">=", 1), BeNumerically("<=", (refreshes()-before)/2)), "volumes that are due together share a call")
		Expect(counted(metrics.Registry, "sallyport_resolver_calls_total", "Resolve")-alone).To(BeZero(), "no refresh has one of its own")
		after := []float64{answered("POST", "tokenreviews"), answered("GET", "pods")}
		few := 2 + int(time.Since(began)/(30*time.Second))
		Expect(after[0]-reviews).To(BeNumerically("<=", few), "of the node plugin's token, twice a minute")
		Expect(after[1]-reads).To(BeNumerically("<=", few), "of replicas that are published, twice a minute")
		Expect(counted(metrics.Registry, "sallyport_resolver_authorizations_total", "Grant") - byGrant).To(BeNumerically(">=", rounds*volumes-1))

		vault.PutKV(path, map[string]any{"password": next})
		for _, dir := range dirs {
			Eventually(func() map[string]string { return filesIn(dir) }).Should(HaveKeyWithValue("password", next))
		}

		refused := func() float64 {
			return counted(plugin.Registry, "sallyport_node_refreshes_total", v1alpha1.ReasonNotAllowed)
		}
		before = refused()
		Eventually(func() error {
			Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(c), c)).To(Succeed())
			c.Spec.AllowedServiceAccounts = []string{"trusted"}
			return cp.Client.Update(ctx, c)
		}).Should(Succeed())
		Eventually(refused).Should(BeNumerically(">=", before+volumes))
		vault.PutKV(path, map[string]any{"password": newSecret()})
		Consistently(func() map[string]string { return filesIn(dirs[0]) }, 12*time.Second, time.Second).Should(HaveKeyWithValue("password", next))
	})
})
