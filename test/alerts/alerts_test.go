// Package alerts tests config/prometheus: the rules by Prometheus' own tool, for firing and for silence, and that each
// alert has a runbook and asks for metrics that there are. The end-to-end tests run the same queries against the real
// thing.
package alerts

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"
)

const root = "../.."

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

type rules struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

func read(g *WithT, path string, into any) {
	content, err := os.ReadFile(filepath.Join(root, path))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(yaml.Unmarshal(content, into)).To(Succeed())
}

func readRules(g *WithT) rules {
	var object struct {
		Spec rules `json:"spec"`
	}
	read(g, "config/prometheus/prometheusrule.yaml", &object)
	g.Expect(object.Spec.Groups).To(HaveLen(1))
	return object.Spec
}

// TestAlertsFireAndAreSilent runs rules_test.yaml with promtool.
func TestAlertsFireAndAreSilent(t *testing.T) {
	g := NewWithT(t)
	promtool := os.Getenv("PROMTOOL_BINARY")
	g.Expect(promtool).NotTo(BeEmpty(), "PROMTOOL_BINARY is not set; run the tests with: make test-alerts")
	dir := t.TempDir()
	content, err := yaml.Marshal(readRules(g))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(filepath.Join(dir, "rules.yaml"), content, 0o600)).To(Succeed())
	tests, err := os.ReadFile("rules_test.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(filepath.Join(dir, "rules_test.yaml"), tests, 0o600)).To(Succeed())
	for _, arguments := range [][]string{{"check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"}, {"test", "rules", "rules_test.yaml"}} {
		command := exec.CommandContext(t.Context(), promtool, arguments...)
		command.Dir = dir
		output, err := command.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(output))
	}
}

// TestEachAlertIsTestedForBoth firing and silence.
func TestEachAlertIsTestedForBoth(t *testing.T) {
	g := NewWithT(t)
	var tests struct {
		Tests []struct {
			Alerts []struct {
				Name     string `json:"alertname"`
				Expected []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	read(g, "test/alerts/rules_test.yaml", &tests)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, alert := range test.Alerts {
			if len(alert.Expected) > 0 {
				fires[alert.Name] = true
			} else {
				silent[alert.Name] = true
			}
		}
	}
	for _, rule := range readRules(g).Groups[0].Rules {
		g.Expect(fires).To(HaveKey(rule.Alert), "no test in which it fires")
		g.Expect(silent).To(HaveKey(rule.Alert), "no test in which it is silent")
	}
}

// TestEachAlertHasARunbook, each runbook an alert, and the list of alerts has both.
func TestEachAlertHasARunbook(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join(root, "docs/reference/metrics.md"))
	g.Expect(err).NotTo(HaveOccurred())
	var wanted []string
	for _, rule := range readRules(g).Groups[0].Rules {
		wanted = append(wanted, rule.Alert+".md")
		g.Expect(rule.Annotations).To(HaveKeyWithValue("runbook_url", "https://sallyport.dev/docs/runbooks/"+rule.Alert+".md"))
		g.Expect(rule.Annotations).To(And(HaveKey("summary"), HaveKey("description")), rule.Alert)
		g.Expect(rule.Labels).To(HaveKeyWithValue("severity", BeElementOf("critical", "warning")), rule.Alert)
		g.Expect(rule.For).NotTo(BeEmpty(), "what passes by itself wakes nobody: %s", rule.Alert)
		g.Expect(string(page)).To(ContainSubstring("(../runbooks/" + rule.Alert + ".md)"))
	}
	files, err := os.ReadDir(filepath.Join(root, "docs/runbooks"))
	g.Expect(err).NotTo(HaveOccurred())
	var names []string
	for _, file := range files {
		names = append(names, file.Name())
		content, err := os.ReadFile(filepath.Join(root, "docs/runbooks", file.Name()))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(content)).To(And(HavePrefix("# "+strings.TrimSuffix(file.Name(), ".md")+"\n"),
			ContainSubstring("\n## Find the cause\n"), ContainSubstring("\n## Cure\n")), file.Name())
	}
	g.Expect(names).To(ConsistOf(wanted))
}

var metric = regexp.MustCompile(`sallyport_[a-z_]+`)

// TestQueriesAskForMetricsThatThereAre, as docs/reference/metrics.md has them, which another test compares with the
// program.
func TestQueriesAskForMetricsThatThereAre(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join(root, "docs/reference/metrics.md"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, rule := range readRules(g).Groups[0].Rules {
		for _, name := range metric.FindAllString(rule.Expr, -1) {
			g.Expect(string(page)).To(ContainSubstring("`"+name), rule.Alert)
		}
	}
}
