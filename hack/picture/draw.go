package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

const (
	column, line = 50.0, 24.0 // a unit of Grafana's grid
	gap          = 4.0
	header       = 22.0 // the title of a panel
	legendLine   = 13.0
	maxLegend    = 4
	left         = 46.0 // room for the labels of the axis
)

var colours = []string{
	"#3274d9", "#56a64b", "#e0752d", "#c4162a", "#8f3bb8", "#e0b400", "#0ca7a0", "#7a7a7a", "#a352cc", "#1f60c4",
}

// drawing collects the elements of the picture.
type drawing struct{ strings.Builder }

func (d *drawing) add(format string, args ...any) { _, _ = fmt.Fprintf(d, format+"\n", args...) }

func (d *drawing) text(x, y float64, style, text string) {
	d.add(`<text x="%.1f" y="%.1f" class="%s">%s</text>`, x, y, style, html.EscapeString(text))
}

func draw(shown dashboard, found answers) string {
	height := 0.0
	for _, p := range shown.Panels {
		height = max(height, p.GridPos.Y+p.GridPos.H)
	}
	d := &drawing{}
	d.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif">`,
		24*column, height*line+40)
	d.add(`<style>.t{font-size:12px;font-weight:bold;fill:#222}.s{font-size:10px;fill:#555}.l{font-size:10px;fill:#333}` +
		`.e{font-size:10px;fill:#555;text-anchor:end}.h{font-size:15px;font-weight:bold;fill:#111}` +
		`.b{font-size:38px;font-weight:bold;text-anchor:middle}` +
		`.p{fill:#fff;stroke:#d8d9da}.g{stroke:#eceded}polyline{fill:none;stroke-width:1.4}</style>`)
	d.add(`<rect width="100%%" height="100%%" fill="#f4f5f5"/>`)
	d.text(gap*2, 26, "h", shown.Title)
	for _, p := range shown.Panels {
		at := box{p.GridPos.X * column, p.GridPos.Y*line + 40, p.GridPos.W * column, p.GridPos.H * line}
		if p.Type == "row" {
			d.text(at.X+gap*2, at.Y+17, "h", p.Title)
			continue
		}
		at = box{at.X + gap, at.Y + gap, at.W - 2*gap, at.H - 2*gap}
		d.add(`<rect class="p" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2"/>`, at.X, at.Y, at.W, at.H)
		d.text(at.X+8, at.Y+16, "t", p.Title)
		inner := box{at.X + 8, at.Y + header, at.W - 16, at.H - header - 6}
		all := found.seriesOf(p)
		switch p.Type {
		case "stat":
			d.number(inner, all)
		case "table":
			d.table(inner, all)
		default:
			d.graph(inner, all, p.FieldConfig.Defaults.Unit, found)
		}
	}
	d.add("</svg>")
	return d.String()
}

// last is the value at the end of the time that is shown; false: the series had ended by then.
func (s series) last(until, step float64) (float64, bool) {
	if len(s.Values) == 0 || s.Values[len(s.Values)-1].at < until-step {
		return 0, false
	}
	return s.Values[len(s.Values)-1].value, true
}

func (d *drawing) number(at box, all []series) {
	shown, colour := "–", colours[7]
	if len(all) > 0 && len(all[0].Values) > 0 {
		value := all[0].Values[len(all[0].Values)-1].value
		shown, colour = format(value, "none"), colours[1]
		if value >= 1 {
			colour = colours[3]
		}
	}
	d.add(`<text x="%.1f" y="%.1f" class="b" fill="%s">%s</text>`, at.X+at.W/2, at.Y+at.H/2+12, colour, shown)
}

func (d *drawing) table(at box, all []series) {
	columns := []string{"kind", "namespace", "name", "reason"}
	for i, name := range columns {
		d.text(at.X+float64(i)*at.W/4, at.Y+12, "t", name)
	}
	until := 0.0
	for _, s := range all {
		until = max(until, s.Values[len(s.Values)-1].at)
	}
	y := at.Y + 28
	for _, s := range all {
		if _, there := s.last(until, 2); !there || y > at.Y+at.H {
			continue
		}
		for i, name := range columns {
			d.text(at.X+float64(i)*at.W/4, y, "l", s.Metric[name])
		}
		y += 16
	}
}

func (d *drawing) graph(at box, all []series, unit string, found answers) {
	slices.SortStableFunc(all, func(a, b series) int { return strings.Compare(a.legend, b.legend) })
	legend := min(len(all), maxLegend)
	plot := box{at.X + left, at.Y + 4, at.W - left - 4, at.H - 24 - float64(legend)*legendLine}
	top := 0.0
	for _, s := range all {
		for _, p := range s.Values {
			if !math.IsNaN(p.value) && !math.IsInf(p.value, 0) {
				top = max(top, p.value)
			}
		}
	}
	top = nice(top)
	for i := range 4 {
		share := float64(i) / 3
		y := plot.Y + plot.H*(1-share)
		d.add(`<path class="g" d="M%.1f %.1fh%.1f"/>`, plot.X, y, plot.W)
		d.text(plot.X-4, y+3, "e", format(top*share, unit))
	}
	for i := range 4 {
		share := float64(i) / 3
		seconds := int(share * (found.Until - found.From))
		d.text(plot.X+plot.W*share-12*share, plot.Y+plot.H+13, "s", fmt.Sprintf("%d:%02d", seconds/60, seconds%60))
	}
	for i, s := range all {
		d.line(plot, s, top, colours[i%len(colours)], found)
		if i < legend {
			y := plot.Y + plot.H + 26 + float64(i)*legendLine
			d.add(`<path d="M%.1f %.1fh10" stroke="%s" stroke-width="2"/>`, at.X, y-3, colours[i%len(colours)])
			label := s.legend
			if i == maxLegend-1 && len(all) > maxLegend {
				label += fmt.Sprintf(", and %d more", len(all)-maxLegend)
			}
			d.text(at.X+14, y, "l", label)
		}
	}
}

// line draws a series, in pieces where it was not there.
func (d *drawing) line(plot box, s series, top float64, colour string, found answers) {
	var points []string
	end := func() {
		if len(points) > 0 {
			d.add(`<polyline stroke="%s" points="%s"/>`, colour, strings.Join(points, " "))
		}
		points = nil
	}
	before := found.From
	for _, p := range s.Values {
		if p.at-before > found.Step*1.5 || math.IsNaN(p.value) || math.IsInf(p.value, 0) {
			end()
		}
		before = p.at
		if math.IsNaN(p.value) || math.IsInf(p.value, 0) {
			continue
		}
		points = append(points, fmt.Sprintf("%.0f,%.1f", plot.X+plot.W*(p.at-found.From)/(found.Until-found.From),
			plot.Y+plot.H*(1-min(max(p.value, 0)/top, 1))))
	}
	end()
}

// nice is the end of an axis that reaches to a value.
func nice(value float64) float64 {
	if value <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(value)))
	for _, step := range []float64{1, 1.5, 3, 6} {
		if value <= step*power {
			return step * power
		}
	}
	return 10 * power
}

// format writes a value with its unit as Grafana does.
func format(value float64, unit string) string {
	number := func(v float64) string { return fmt.Sprintf("%.3g", v) }
	switch unit {
	case "percentunit":
		return number(value*100) + "%"
	case "bytes":
		return number(value/(1<<20)) + " MiB"
	case "s":
		switch {
		case value == 0:
			return "0 s"
		case value < 1:
			return number(value*1000) + " ms"
		case value >= 7200:
			return number(value/3600) + " h"
		case value >= 120:
			return number(value/60) + " min"
		}
		return number(value) + " s"
	case "ops", "reqps":
		return number(value) + "/s"
	}
	return number(value)
}
