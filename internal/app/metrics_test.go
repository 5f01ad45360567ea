package app

import (
	"os"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/lease"
	"sallyport.dev/sallyport/internal/node"
	"sallyport.dev/sallyport/internal/resolver/client"
	"sallyport.dev/sallyport/internal/resolver/usage"
)

// descriptions is a registry that notes what it is given, as the documentation writes it: name{label,label}.
type descriptions struct {
	prometheus.Registerer
	names []string
}

var described = regexp.MustCompile(`fqName: "(sallyport_[a-z_]+)".*variableLabels: \{([a-z,]*)\}`)

func (d *descriptions) Register(collector prometheus.Collector) error {
	descs := make(chan *prometheus.Desc)
	go func() { defer close(descs); collector.Describe(descs) }()
	for desc := range descs {
		if found := described.FindStringSubmatch(desc.String()); found != nil {
			name := found[1]
			if found[2] != "" {
				name += "{" + found[2] + "}"
			}
			d.names = append(d.names, name)
		}
	}
	return nil
}

// TestEveryMetricIsDocumented, and every one that is documented exists, with its labels.
func TestEveryMetricIsDocumented(t *testing.T) {
	g := NewWithT(t)
	var plugin, controller descriptions
	resolver := client.New(client.Config{})
	_, err := node.New(node.Config{
		Registry: &plugin, Resolver: resolver, Changes: resolver, KubeletDir: t.TempDir(), NodeName: "node", MemoryBudget: 64 << 20,
	})
	g.Expect(err).NotTo(HaveOccurred())
	clk := clock.RealClock{}
	g.Expect(registerMetrics(&controller, nil, nil, lease.NewManager(lease.Options{Clock: clk}), usage.NewVolumeTracker(clk))).
		To(Succeed())
	g.Expect(documentedMetrics(g, "Node plugin")).To(ConsistOf(plugin.names))
	g.Expect(documentedMetrics(g, "Controller")).To(ConsistOf(controller.names))
}

// documentedMetrics returns what the tables of a section have in their first column.
func documentedMetrics(g *WithT, section string) (names []string) {
	page, err := os.ReadFile("../../docs/reference/metrics.md")
	g.Expect(err).NotTo(HaveOccurred())
	_, text, found := strings.Cut(string(page), "\n## "+section+"\n")
	g.Expect(found).To(BeTrue(), section)
	text, _, _ = strings.Cut(text, "\n## ")
	for _, row := range regexp.MustCompile("(?m)^\\| `(sallyport_[^`]+)` \\|").FindAllStringSubmatch(text, -1) {
		names = append(names, row[1])
	}
	return names
}
