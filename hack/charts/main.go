// Command charts puts what the measurements of test/bench found into docs/performance.md: for each JSON file of
// bin/bench whose name the document has in a marker,
//
//	<!-- measured: publish -->
//	<!-- end -->
//
// a table with date, machine and command, the limits, and charts, which it draws as SVG in docs/images. What stands
// there for a measurement without a file stays. make figures runs it.
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
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "charts:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: charts MEASUREMENTS DOCUMENT IMAGES, such as bin/bench docs/performance.md docs/images")
	}
	measurements, document, images := args[0], args[1], args[2]
	text, err := os.ReadFile(document) //nolint:gosec // it reads what it is told to
	if err != nil {
		return err
	}
	written := string(text)
	for _, name := range named(written) {
		var found report
		found, err = load(filepath.Join(measurements, name+".json"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := drawAll(found, images); err != nil {
			return err
		}
		if written, err = fill(written, name, section(found, filepath.Base(images))); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, document+": "+name)
	}
	return write(document, written)
}

// drawAll draws the charts of a measurement.
func drawAll(found report, images string) error {
	for _, c := range charts {
		if c.report != found.Name {
			continue
		}
		if err := write(filepath.Join(images, c.file()), c.draw(found)); err != nil {
			return err
		}
	}
	return nil
}

func write(file, content string) error {
	return os.WriteFile(file, []byte(content), 0o644) //nolint:gosec // like any other file of the checkout
}

func load(file string) (report, error) {
	var found report
	content, err := os.ReadFile(file) //nolint:gosec // it reads what it is told to
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
