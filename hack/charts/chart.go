package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// chart shows columns of a measurement as bars, side by side for each of its rows.
type chart struct {
	// name of the file, and of the measurement.
	name, report string
	title, unit  string
	// by is the column that tells rows apart, and labels what its values mean; none: how is the text around a value.
	by     string
	labels map[float64]string
	how    string
	bars   []bar
}

type bar struct{ column, label string }

var charts = []chart{
	{
		name: "mounting", report: "publish", title: "Volumes mounted a second",
		by: "concurrency", how: "%s at a time",
		bars: []bar{{"volumes/s", "Sallyport"}, {"floor/s", "floor"}},
	},
	{
		name: "mounting-p99", report: "publish", title: "99 % of the volumes are mounted within", unit: " ms",
		by: "concurrency", how: "%s at a time",
		bars: []bar{{"p99 ms", "Sallyport"}, {"floor p99", "floor"}},
	},
	{
		name: "start", report: "start", title: "From a pod's creation to Running, one after the other",
		unit: " ms", by: "mounts",
		labels: map[float64]string{0: "nothing mounted", 1: "a Secret", 2: "a Connection"},
		bars:   []bar{{"p50 ms", "median"}, {"p95 ms", "95 % within"}},
	},
	{
		name: "start-at-once", report: "start", title: "From the creation of pods at once until all are Running",
		unit: " s", by: "mounts",
		labels: map[float64]string{0: "nothing mounted", 1: "a Secret", 2: "a Connection"},
		bars:   []bar{{"at once, p50 s", "median pod"}, {"at once, all s", "the last pod"}},
	},
	{
		name: "change", report: "change", title: "From a change in Vault to the new file", unit: " s",
		by: "interval s", how: "every %s s",
		bars: []bar{{"p50 s", "median"}, {"slowest s", "slowest"}},
	},
	{
		name: "return", report: "return", title: "From Vault's return to the start of pods that waited", unit: " s",
		by: "turn", how: "turn %s",
		bars: []bar{{"first s", "first"}, {"p50 s", "median"}, {"last s", "last"}},
	},
	{
		name: "vaultconfigs", report: "vaultconfigs", title: "Requests a minute of VaultConfigs at rest",
		by: "vaultconfigs", how: "%s VaultConfigs",
		bars: []bar{
			{"vault req/min", "to Vault"}, {"api writes/min", "writes to the API server"},
			{"secret reads/min", "reads of Secrets"},
		},
	},
}

func (c chart) file() string { return "bench-" + c.name + ".svg" }

const (
	width, height     = 640.0, 300.0
	left, top, bottom = 60.0, 64.0, 36.0
	lines             = 4
)

var colours = []string{"#334e68", "#e0752d", "#9fb3c8"}

// draw returns the chart as SVG.
func (c chart) draw(r report) string {
	most := 0.0
	for _, row := range r.Rows {
		for _, b := range c.bars {
			most = max(most, row[b.column])
		}
	}
	most = axis(most)
	var d strings.Builder
	add := func(format string, args ...any) { _, _ = fmt.Fprintf(&d, format+"\n", args...) }
	add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="12" `+
		`fill="#1f2933">`, width, height)
	add(`<title>%s</title>`, html.EscapeString(c.title))
	add(`<rect width="100%%" height="100%%" fill="#fdfdfc"/>`)
	add(`<text x="12" y="22" font-size="15" font-weight="bold">%s</text>`, html.EscapeString(c.title))
	x := 12.0
	for i, b := range c.bars {
		add(`<rect x="%.0f" y="34" width="12" height="12" fill="%s"/><text x="%.0f" y="44">%s</text>`,
			x, colours[i], x+17, html.EscapeString(b.label))
		x += 40 + 7*float64(len(b.label))
	}
	plot := height - top - bottom
	for i := range lines + 1 {
		share := float64(i) / lines
		y := top + plot*(1-share)
		add(`<path d="M%.0f %.1fh%.0f" stroke="#d9e2ec"/>`, left, y, width-left-12)
		add(`<text x="%.0f" y="%.1f" text-anchor="end" fill="#627d98">%s</text>`,
			left-6, y+4, number(most*share)+c.unit)
	}
	group := (width - left - 12) / float64(len(r.Rows))
	thick := min(group*0.8/float64(len(c.bars)), 70)
	for i, row := range r.Rows {
		centre := left + group*(float64(i)+0.5)
		for j, b := range c.bars {
			size := plot * row[b.column] / most
			at := centre + thick*(float64(j)-float64(len(c.bars))/2)
			add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`,
				at+2, top+plot-size, thick-4, size, colours[j])
			add(`<text x="%.1f" y="%.1f" text-anchor="middle" font-size="11">%s</text>`,
				at+thick/2, top+plot-size-4, number(row[b.column]))
		}
		add(`<text x="%.1f" y="%.0f" text-anchor="middle">%s</text>`,
			centre, height-14, html.EscapeString(c.label(row[c.by])))
	}
	add(`</svg>`)
	return d.String()
}

func (c chart) label(value float64) string {
	if label, is := c.labels[value]; is {
		return label
	}
	return fmt.Sprintf(c.how, number(value))
}

// axis is the end of an axis that holds a value and divides well.
func axis(value float64) float64 {
	if value <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(value)))
	for _, step := range []float64{1, 2, 4, 6, 8} {
		if value <= step*power {
			return step * power
		}
	}
	return 10 * power
}
