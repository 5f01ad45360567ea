package chart

import (
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// podMonitor is what decides which ports Prometheus scrapes; it knows nothing of the pods, and says so to nobody if it
// selects none.
type podMonitor struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector          metav1.LabelSelector `json:"selector"`
		NamespaceSelector struct {
			MatchNames []string `json:"matchNames"`
		} `json:"namespaceSelector"`
		PodMetricsEndpoints []struct {
			Port   string `json:"port"`
			Path   string `json:"path"`
			Scheme string `json:"scheme"`
		} `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

// convert reads an object into its type.
func convert(object map[string]any, into any) {
	GinkgoHelper()
	Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(object, into)).To(Succeed())
}

// templates are the pods of an installation, by the component that they are of.
func (o objects) templates() map[string]corev1.PodTemplateSpec {
	GinkgoHelper()
	found := map[string]corev1.PodTemplateSpec{}
	for _, object := range o {
		var template corev1.PodTemplateSpec
		switch object.GetKind() {
		case "Deployment":
			deployment := &appsv1.Deployment{}
			convert(object.Object, deployment)
			template = deployment.Spec.Template
		case "DaemonSet":
			set := &appsv1.DaemonSet{}
			convert(object.Object, set)
			template = set.Spec.Template
		default:
			continue
		}
		template.Namespace = object.GetNamespace()
		found[template.Labels["app.kubernetes.io/component"]] = template
	}
	return found
}

// scraped are the ports that Prometheus would scrape, as "component scheme port".
func (o objects) scraped() []string {
	GinkgoHelper()
	object := o["PodMonitor/"+namespace+"/sallyport"]
	Expect(object).NotTo(BeNil(), "%v", o.names())
	monitor := &podMonitor{}
	convert(object.Object, monitor)
	selector, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
	Expect(err).NotTo(HaveOccurred())
	namespaces := monitor.Spec.NamespaceSelector.MatchNames
	if len(namespaces) == 0 {
		namespaces = []string{monitor.Namespace}
	}
	var found []string
	for component, template := range o.templates() {
		if !slices.Contains(namespaces, template.Namespace) || !selector.Matches(labels.Set(template.Labels)) {
			continue
		}
		for _, endpoint := range monitor.Spec.PodMetricsEndpoints {
			Expect(endpoint.Path).To(BeElementOf("", "/metrics"))
			for _, container := range template.Spec.Containers {
				for _, port := range container.Ports {
					if port.Name == endpoint.Port {
						found = append(found, strings.Join([]string{component, endpoint.Scheme, port.Name}, " "))
					}
				}
			}
		}
	}
	return found
}

var _ = Describe("the PodMonitor selects the pods that have metrics, by the ports that they have", func() {
	plain := []string{"controller  metrics", "node  metrics"}
	secure := []string{"controller https metrics-secure", "node  metrics"}

	DescribeTable("of kustomize", func(ctx SpecContext, overlay string, ports []string) {
		all := kustomized(ctx, "testdata/overlays/"+overlay)
		Expect(all.templates()).To(And(HaveLen(2), HaveKey("controller"), HaveKey("node")))
		Expect(all.scraped()).To(ConsistOf(ports))
	},
		Entry("config/prometheus", "prometheus", plain),
		Entry("with config/secure-metrics", "secure-metrics", secure),
	)

	DescribeTable("of the chart", func(ctx SpecContext, values map[string]any, ports []string) {
		on := valuesFile(map[string]any{"metrics": map[string]any{"podMonitor": map[string]any{"enabled": true}}})
		Expect(rendered(ctx, "--values", on, "--values", valuesFile(values)).scraped()).To(ConsistOf(ports))
	},
		Entry("as it is", map[string]any{}, plain),
		Entry("with TLS", nested("metrics.secure.enabled", true), secure),
		Entry("with the node plugin in another namespace", nested("node.namespace", "sallyport-node"), plain),
		Entry("without the controller's metrics", nested("metrics.enabled", false), []string{"node  metrics"}),
	)
})
