package bench

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"sallyport.dev/sallyport/test/env"
)

// flowSchema is that of Sallyport's own requests.
const flowSchema = "sallyport-bench"

// The resolver's counters of calls, by method, and of the requests in them. A resolver without the first has a call for
// each request.
const (
	resolverCalls    = "sallyport_resolver_calls_total"
	resolverRequests = "sallyport_resolver_requests_total"
)

// countRequests has the API server count the requests of Sallyport's service accounts apart from all others, by a flow
// schema of their own, with the priority that service accounts have in any cluster.
func (s *system) countRequests(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	all := []string{"*"}
	g.Expect(s.Client.Create(t.Context(), &flowcontrolv1.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: flowSchema},
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "workload-low"},
			MatchingPrecedence:         500,
			DistinguisherMethod:        &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType},
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects: []flowcontrolv1.Subject{{
					Kind:           flowcontrolv1.SubjectKindServiceAccount,
					ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Namespace: env.Namespace, Name: "*"},
				}},
				ResourceRules: []flowcontrolv1.ResourcePolicyRule{{
					Verbs: all, APIGroups: all, Resources: all, ClusterScope: true, Namespaces: all,
				}},
				NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: all, NonResourceURLs: all}},
			}},
		},
	})).To(Succeed())
	controller, err := kubernetes.NewForConfig(s.As("system:serviceaccount:"+env.Namespace+":sallyport-controller", replica))
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() float64 {
		_, _ = controller.Discovery().ServerVersion()
		return s.api(t).ofSallyport()
	}, time.Minute, 100*time.Millisecond).Should(BeNumerically(">", 0), "requests of Sallyport that the API server counts")
}

// ofSallyport is how many requests the API server has taken from Sallyport's service accounts, of all kinds.
func (s sample) ofSallyport() float64 {
	return s.sum("apiserver_flowcontrol_dispatched_requests_total", `flow_schema="`+flowSchema+`"`)
}

// api is what the API server counted.
func (s *system) api(t *testing.T) sample {
	t.Helper()
	found, err := s.apiServer(t.Context())
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return found
}

// sum adds up the series of a metric that have a label.
func (s sample) sum(metric, label string) (sum float64) {
	for name, value := range s {
		if labels, is := strings.CutPrefix(name, metric); is && (labels == "" || labels[0] == '{') && strings.Contains(labels, label) {
			sum += value
		}
	}
	return sum
}

// nodeCalls is how many calls nodes made to the resolver for volumes. Waiting for changes is no part of it.
func (s *system) nodeCalls(t *testing.T) float64 {
	t.Helper()
	found, err := scrape(t, s.metrics)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	if calls := found.sum(resolverCalls, `method="Resolve`); calls > 0 { // and ResolveEach
		return calls
	}
	return found.sum(resolverRequests, "")
}

// printKinds prints what the API server was asked since an earlier look, by anybody: what adds up to the requests of
// Sallyport, and those of the measurement and of the API server itself.
func (s sample) printKinds(before sample, minutes float64) {
	kinds := map[string]float64{}
	for name, value := range s {
		labels, is := strings.CutPrefix(name, "apiserver_request_total{")
		if is && value > before[name] {
			kinds[label(labels, "verb")+" "+label(labels, "resource")+" "+label(labels, "subresource")] += (value - before[name]) / minutes
		}
	}
	fmt.Println("\nrequests of anybody to the API server a minute:")
	for _, kind := range slices.SortedFunc(maps.Keys(kinds), func(a, b string) int { return cmp.Compare(kinds[b], kinds[a]) }) {
		fmt.Printf("%8.2f %s\n", kinds[kind], kind)
	}
}

// label is the value of a label.
func label(labels, name string) string {
	_, rest, _ := strings.Cut(labels, name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}
