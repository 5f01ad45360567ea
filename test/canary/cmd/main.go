// Command canary searches files and directories for secret values and fails when it finds one.
//
//	canary -values FILE [-except PATH]… [-expect] PATH…
//
// FILE holds one value per line as NAME=TEXT ("-" is stdin), so that no secret stands in a process list. With -expect
// it is the other way round: it fails when a value is not found. That is the control that shows the search works.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"sallyport.dev/sallyport/test/canary"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "canary:", err)
		os.Exit(1)
	}
}

func run(args []string, stdin io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("canary", flag.ContinueOnError)
	valuesFile := flags.String("values", "", `file of NAME=TEXT lines, or "-"`)
	expect := flags.Bool("expect", false, "fail unless every value is found")
	var except []string
	flags.Func("except", "path to leave out; may be repeated", func(path string) error {
		except = append(except, path)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	values, err := readValues(*valuesFile, stdin)
	if err != nil {
		return err
	}
	scanner, err := canary.New(values...)
	if err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name at least one path to search")
	}
	report, err := scanner.Scan(flags.Args(), except)
	if err != nil {
		return err
	}
	return judge(report, values, *expect, out)
}

// judge prints the report and turns it into success or failure.
func judge(report *canary.Report, values []canary.Value, expect bool, out io.Writer) error {
	for _, f := range report.Findings {
		_, _ = fmt.Fprintln(out, "found in", f)
	}
	_, _ = fmt.Fprintf(out, "searched %d files (%.1f MB) for %d values: %d findings\n",
		report.Files, float64(report.Bytes)/1e6, len(values), len(report.Findings))
	if report.Files == 0 {
		return errors.New("there was no file to search")
	}
	if !expect {
		if len(report.Findings) > 0 {
			return errors.New("a secret lies where none may be")
		}
		return nil
	}
	for _, v := range values {
		if !slices.ContainsFunc(report.Findings, func(f canary.Finding) bool { return f.Value == v.Name }) {
			return fmt.Errorf("%q was expected and not found: the search does not work", v.Name)
		}
	}
	return nil
}

func readValues(file string, stdin io.Reader) ([]canary.Value, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("reading the values: %w", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	var values []canary.Value
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		name, text, found := strings.Cut(lines.Text(), "=")
		if !found {
			return nil, fmt.Errorf("value %d is not of the form NAME=TEXT", len(values)+1)
		}
		values = append(values, canary.Value{Name: name, Text: text})
	}
	return values, lines.Err()
}
