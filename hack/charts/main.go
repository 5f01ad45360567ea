// Command charts puts what the measurements of test/bench found into docs/performance.md: for each JSON file of bin/bench
// whose name the document has between markers,
//
//	<!-- measured: publish -->
//	<!-- end -->
//
// a table with date, machine and command, the limits, and charts, which it draws as SVG in docs/images. What stands there
// for a measurement without a file stays. make figures runs it.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// report is what a measurement wrote; see Report in test/bench.
type report struct {
	Name    string               `json:"name"`
	About   string               `json:"about"`
	Time    time.Time            `json:"time"`
	Machine map[string]string    `json:"machine"`
	Command string               `json:"command"`
	Columns []string             `json:"columns"`
	Rows    []map[string]float64 `json:"rows"`
	Limits  []limit              `json:"limits"`
}

type limit struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Bound   float64 `json:"bound"`
	AtLeast bool    `json:"atLeast"`
	Held    bool    `json:"held"`
	Goal    bool    `json:"goal"`
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: charts MEASUREMENTS DOCUMENT IMAGES, such as bin/bench docs/performance.md docs/images")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "charts:", err)
		os.Exit(1)
	}
}

func run(measurements, document, images string) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	written := string(text)
	for _, name := range named(written) {
		found, err := load(filepath.Join(measurements, name+".json"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, c := range charts {
			if c.report != name {
				continue
			}
			if err := os.WriteFile(filepath.Join(images, c.file()), []byte(c.draw(found)), 0o644); err != nil { //nolint:gosec // for everybody
				return err
			}
		}
		if written, err = fill(written, name, section(found, filepath.Base(images))); err != nil {
			return err
		}
		fmt.Println(name)
	}
	return os.WriteFile(document, []byte(written), 0o644) //nolint:gosec // for everybody
}

func load(file string) (report, error) {
	var found report
	content, err := os.ReadFile(file)
	if err != nil {
		return found, err
	}
	if err := json.Unmarshal(content, &found); err != nil {
		return found, fmt.Errorf("%s: %w", file, err)
	}
	if len(found.Rows) == 0 {
		return found, fmt.Errorf("%s has no rows", file)
	}
	return found, nil
}
