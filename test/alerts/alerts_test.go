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
		g.Expect(rule.Annotations).To(HaveKeyWithValue("runbook_url", "https://sallyport.dev/docs/runbooks/"+rule.Alert+".html"), "as the site has it")
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
	for _, panel := range readDashboard(g).Panels {
		for _, target := range panel.Targets {
			for _, name := range metric.FindAllString(target.Expr, -1) {
				g.Expect(string(page)).To(ContainSubstring("`"+strings.TrimSuffix(name, "_bucket")), panel.Title)
			}
		}
	}
}

type position struct{ X, Y, W, H int }

type dashboard struct {
	UID    string `json:"uid"`
	Panels []struct {
		ID          int
		Type        string
		Title       string
		Description string
		Datasource  struct{ UID string }
		GridPos     position
		FieldConfig struct{ Defaults struct{ Unit string } }
		Targets     []struct {
			RefID        string
			Expr         string
			LegendFormat string
			Instant      bool
			Datasource   struct{ UID string }
		}
	} `json:"panels"`
}

func readDashboard(g *WithT) (d dashboard) {
	read(g, "config/grafana/dashboard.json", &d)
	g.Expect(len(d.Panels)).To(BeNumerically(">", 30))
	return d
}

// TestTheDashboardIsOne that works with any data source, and whose panels say what they show.
func TestTheDashboardIsOne(t *testing.T) {
	g := NewWithT(t)
	d := readDashboard(g)
	g.Expect(d.UID).To(Equal("sallyport"), "what links lead to")
	ids, taken := map[int]string{}, map[[2]int]string{}
	for _, panel := range d.Panels {
		g.Expect(ids).NotTo(HaveKey(panel.ID), panel.Title)
		ids[panel.ID] = panel.Title
		for x := range panel.GridPos.W {
			for y := range panel.GridPos.H {
				cell := [2]int{panel.GridPos.X + x, panel.GridPos.Y + y}
				g.Expect(taken).NotTo(HaveKey(cell), "%s lies over another panel", panel.Title)
				g.Expect(cell[0]).To(BeNumerically("<", 24), panel.Title)
				taken[cell] = panel.Title
			}
		}
		g.Expect(panel.Title).NotTo(BeEmpty())
		if panel.Type == "row" {
			continue
		}
		g.Expect(panel.Description).NotTo(BeEmpty(), panel.Title)
		g.Expect(panel.FieldConfig.Defaults.Unit).NotTo(BeEmpty(), panel.Title)
		g.Expect(panel.Datasource.UID).To(Equal("${datasource}"), panel.Title)
		g.Expect(panel.Targets).NotTo(BeEmpty(), panel.Title)
		for _, target := range panel.Targets {
			g.Expect(target.Datasource.UID).To(Equal("${datasource}"), panel.Title)
			g.Expect(target.Instant || target.LegendFormat != "").To(BeTrue(), "%s has a legend", panel.Title)
			// A rate over a fixed time is empty or coarse at another resolution.
			g.Expect(strings.Count(target.Expr, "rate(")).To(Equal(strings.Count(target.Expr, "[$__rate_interval]")), target.Expr)
		}
	}
}
