package bench

import (
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

// resolverCalls is the resolver's counter of what nodes ask it for volumes. Waiting for changes is no part of it.
const resolverCalls = "sallyport_resolver_requests_total"

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

// nodeCalls is how many requests the resolver has answered to nodes.
func (s *system) nodeCalls(t *testing.T) float64 {
	t.Helper()
	found, err := scrape(t, s.metrics)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return found.sum(resolverCalls, "")
}
