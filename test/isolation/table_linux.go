package isolation

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// Long tells whether attacks are heavier and last longer than `make test` has time for.
func Long() bool { return os.Getenv("ISOLATION_LONG") != "" }

const (
	// shortLength is how long an attack lasts after it has begun, and longLength if there is time.
	shortLength, longLength = 7 * time.Second, 40 * time.Second
)

// Length is how long an attack lasts.
func Length() time.Duration {
	if Long() {
		return longLength
	}
	return shortLength
}

// Table is what was found, as a table in Markdown: the longest sample of each column in seconds, then the most memory
// in MiB, and what the attacker saw.
func Table(results []*Result) string {
	var b strings.Builder
	b.WriteString("| A hostile tenant has |")
	for _, column := range Columns {
		fmt.Fprintf(&b, " %s |", column.Name)
	}
	b.WriteString(" controller MiB | node MiB | processes |\n|---|" + strings.Repeat("---|", len(Columns)+3) + "\n")
	b.WriteString("| *at most* |")
	for _, column := range Columns {
		fmt.Fprintf(&b, " *%g* |", column.Limit.Seconds())
	}
	b.WriteString(" | | |\n")
	for _, result := range results {
		fmt.Fprintf(&b, "| %s |", result.Attack)
		for _, column := range Columns {
			figure := result.Figures[column.Name]
			mark := ""
			if len(figure.Failures) > 0 || figure.Worst() > column.Limit {
				mark = "**"
			}
			fmt.Fprintf(&b, " %s%.1f%s |", mark, max(0, figure.Worst().Round(100*time.Millisecond).Seconds()), mark)
		}
		lives := "live"
		if len(result.Ends) > 0 {
			lives = fmt.Sprintf("**%d ended**", len(result.Ends))
		}
		fmt.Fprintf(&b, " %d | %d | %s |\n", result.Controller>>20, result.Node>>20, lives)
	}
	return b.String()
}
