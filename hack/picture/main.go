// Command picture draws config/grafana/dashboard.json as SVG, with the series that a real Prometheus answered its
// queries with while the end-to-end tests ran: bin/dashboard.json, which test/e2e/prometheus_test.go writes.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// dashboard is what is drawn of Grafana's JSON.
type dashboard struct {
	Title  string  `json:"title"`
	Panels []panel `json:"panels"`
}

type panel struct {
	Type        string `json:"type"`
	Title       string `json:"title"`
	GridPos     box    `json:"gridPos"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat"`
	} `json:"targets"`
}

type box struct{ X, Y, W, H float64 }

// answers are the series of each query.
type answers struct {
	From    float64             `json:"from"`
	Until   float64             `json:"until"`
	Step    float64             `json:"step"`
	Answers map[string][]series `json:"answers"`
}

type series struct {
	Metric map[string]string `json:"metric"`
	Values []point           `json:"values"`
	legend string
}

// point is a time and a value.
type point struct{ at, value float64 }

// UnmarshalJSON reads Prometheus' pair of a number and a text.
func (p *point) UnmarshalJSON(content []byte) error {
	var text string
	if err := json.Unmarshal(content, &[]any{&p.at, &text}); err != nil {
		return err
	}
	_, err := fmt.Sscan(text, &p.value)
	return err
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: picture DASHBOARD ANSWERS >SVG")
	}
	var shown dashboard
	if err := read(args[0], &shown); err != nil {
		return err
	}
	var found answers
	if err := read(args[1], &found); err != nil {
		return err
	}
	_, err := os.Stdout.WriteString(draw(shown, found))
	return err
}

func read(path string, into any) error {
	content, err := os.ReadFile(path) //nolint:gosec // it reads what it is told to
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// seriesOf are those of a panel, with their legends.
func (a answers) seriesOf(p panel) []series {
	var all []series
	for _, target := range p.Targets {
		// As test/e2e/prometheus_test.go asks.
		query := strings.NewReplacer("$__rate_interval", "1m", "$namespace", ".*").Replace(target.Expr)
		for _, s := range a.Answers[query] {
			s.legend = target.LegendFormat
			for label, value := range s.Metric {
				s.legend = strings.ReplaceAll(s.legend, "{{"+label+"}}", value)
			}
			all = append(all, s)
		}
	}
	return all
}
