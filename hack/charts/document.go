package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

const end = "<!-- end -->"

var marker = regexp.MustCompile(`<!-- measured: ([a-z-]+) -->`)

// named are the measurements that a document has markers for.
func named(document string) []string {
	var names []string
	for _, match := range marker.FindAllStringSubmatch(document, -1) {
		names = append(names, match[1])
	}
	return names
}

// fill replaces what stands between the markers of a measurement.
func fill(document, name, content string) (string, error) {
	begin := "<!-- measured: " + name + " -->"
	before, rest, found := strings.Cut(document, begin)
	if !found {
		return "", fmt.Errorf("there is no %q in the document", begin)
	}
	former, after, found := strings.Cut(rest, end)
	if !found || strings.Contains(former, "<!-- measured:") {
		return "", fmt.Errorf("%q has no %q behind it", begin, end)
	}
	return before + begin + "\n" + content + end + after, nil
}

// section is what stands there.
func section(r report, images string) string {
	var b strings.Builder
	command := r.Command
	if command == "" {
		command = "make bench"
	}
	fmt.Fprintf(&b, "%s: `%s`, on %s cores (%s), %s, %s. %s.\n\n",
		r.Time.UTC().Format("2 January 2006, 15:04 UTC"), command, r.Machine["cores"], r.Machine["cpu"],
		memory(r.Machine["memory"]), r.Machine["go"], capital(r.About))
	table(&b, r)
	if len(r.Limits) > 0 {
		b.WriteString("\n| Limit | measured | bound | |\n|---|---|---|---|\n")
	}
	for _, l := range r.Limits {
		bound := "at most "
		if l.AtLeast {
			bound = "at least "
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", l.Name, number(l.Value), bound+number(l.Bound), l.kept())
	}
	for _, c := range charts {
		if c.report == r.Name {
			fmt.Fprintf(&b, "\n![%s](%s/%s)\n", c.title, images, c.file())
		}
	}
	return b.String()
}

func (l limit) kept() string {
	switch {
	case l.Goal && l.Held:
		return "goal, reached"
	case l.Goal:
		return "goal, **not reached**"
	case l.Held:
		return "held"
	}
	return "**not held**"
}

// maxAcross is how many rows of a measurement stand beside each other.
const maxAcross = 5

// table has a line for each column of the measurement, and so a column for each of its rows; or as they are where these
// are many.
func table(b *strings.Builder, r report) {
	if len(r.Rows) > maxAcross {
		fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(r.Columns, " | "), strings.Repeat("---|", len(r.Columns)))
		for _, row := range r.Rows {
			b.WriteString("|")
			for _, column := range r.Columns {
				fmt.Fprintf(b, " %s |", number(row[column]))
			}
			b.WriteString("\n")
		}
		return
	}
	for i, column := range r.Columns {
		fmt.Fprintf(b, "| %s |", column)
		for _, row := range r.Rows {
			fmt.Fprintf(b, " %s |", number(row[column]))
		}
		b.WriteString("\n")
		if i == 0 {
			fmt.Fprintf(b, "|%s\n", strings.Repeat("---|", len(r.Rows)+1))
		}
	}
}

// number writes three significant digits, or all before the point.
func number(value float64) string {
	if value == 0 || math.IsNaN(value) || math.IsInf(value, 0) {
		return strconv.FormatFloat(value, 'f', -1, 64)
	}
	digits := max(2-int(math.Floor(math.Log10(math.Abs(value)))), 0)
	scale := math.Pow(10, float64(min(digits, 6)))
	text := strconv.FormatFloat(math.Round(value*scale)/scale, 'f', -1, 64)
	whole, fraction, is := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if is {
		whole += "." + fraction
	}
	return whole
}

// memory writes kibibytes, as /proc/meminfo has them, in GiB.
func memory(text string) string {
	kibibytes, err := strconv.ParseFloat(strings.TrimSuffix(text, " kB"), 64)
	if err != nil {
		return text
	}
	return fmt.Sprintf("%.0f GiB", kibibytes/(1<<20))
}

func capital(text string) string {
	return strings.ToUpper(text[:min(1, len(text))]) + text[min(1, len(text)):]
}
