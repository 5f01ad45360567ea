package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// The dashboard as it is, with an answer for each of its queries.
func TestEveryPanelIsDrawn(t *testing.T) {
	g := NewWithT(t)
	var shown dashboard
	g.Expect(read("../../config/grafana/dashboard.json", &shown)).To(Succeed())
	found := answers{From: 1000, Until: 1100, Step: 2, Answers: map[string][]series{}}
	var one []series
	content := `[{"metric":{"kind":"VaultConfig","namespace":"<shop>","name":"prod","reason":"AuthFailed"},
		"values":[[1000,"0.5"],[1002,"NaN"],[1098,"2.5"],[1100,"+Inf"]]}]`
	g.Expect(json.Unmarshal([]byte(content), &one)).To(Succeed())
	for _, p := range shown.Panels {
		for _, target := range p.Targets {
			query := strings.NewReplacer("$__rate_interval", "1m", "$namespace", ".*").Replace(target.Expr)
			found.Answers[query] = one
		}
	}
	drawn := draw(shown, found)
	g.Expect(len(shown.Panels)).To(BeNumerically(">", 30))
	for _, p := range shown.Panels {
		g.Expect(drawn).To(ContainSubstring(">"+strings.ReplaceAll(p.Title, "&", "&amp;")+"<"), p.Title)
	}
	g.Expect(drawn).To(And(ContainSubstring("AuthFailed"), ContainSubstring("&lt;shop&gt;/prod"), Not(ContainSubstring("{{kind}}"))))
	for decoder := xml.NewDecoder(strings.NewReader(drawn)); ; {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		g.Expect(err).NotTo(HaveOccurred())
	}
}

// The picture in the docs has all panels that there are, so that a new one is not forgotten.
func TestThePictureIsOfThisDashboard(t *testing.T) {
	g := NewWithT(t)
	var shown dashboard
	g.Expect(read("../../config/grafana/dashboard.json", &shown)).To(Succeed())
	picture, err := os.ReadFile("../../docs/images/dashboard.svg")
	g.Expect(err).NotTo(HaveOccurred())
	for _, p := range shown.Panels {
		g.Expect(string(picture)).To(ContainSubstring(">"+p.Title+"<"), "make test-e2e FOCUS='real Prometheus', and make diagrams")
	}
}
