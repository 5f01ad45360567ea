package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/internal/cli/health"
)

// outputs are what -o takes; empty is the short form for people.
var outputs = []string{"json", "yaml", "wide"}

func (p *program) addOutput(c *cobra.Command) {
	c.Flags().StringVarP(&p.output, "output", "o", "", "format of the output: json, yaml or wide")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
}

func (p *program) checkOutput() error {
	if p.output != "" && !slices.Contains(outputs, p.output) {
		return usageError{fmt.Errorf("-o knows %s, not %q", strings.Join(outputs, ", "), p.output)}
	}
	return nil
}

func (p *program) wide() bool { return p.output == "wide" }

// print writes data as JSON or YAML if that was asked for, and otherwise what text makes, in one piece, so that a pipe
// that closes is noticed once.
func (p *program) print(data any, text func(io.Writer)) error {
	var out strings.Builder
	switch p.output {
	case "json":
		encoder := json.NewEncoder(&out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(data); err != nil {
			return err
		}
	case "yaml":
		encoded, err := yaml.Marshal(data)
		if err != nil {
			return err
		}
		out.Write(encoded)
	default:
		var plain strings.Builder
		text(&plain)
		// Status and events are written by others.
		out.WriteString(p.paintMarks(shownOn(p.Out, plain.String())))
	}
	_, err := io.WriteString(p.Out, out.String())
	return err
}

// shownOn is a text as a terminal may have it; other readers get it as it is.
func shownOn(w io.Writer, text string) string {
	if onTerminal(w) {
		return harmless(text)
	}
	return text
}

// harmless replaces what a terminal would take for a command.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// outlet is where the program writes to.
type outlet struct{ io.Writer }

// Write implements io.Writer. That nobody reads what is written is errUnread.
func (o outlet) Write(text []byte) (int, error) {
	n, err := o.Writer.Write(text)
	switch {
	case errors.Is(err, syscall.EPIPE):
		err = errUnread
	case err != nil: // not as one of the cluster
		err = errors.New("the output cannot be written: " + err.Error())
	}
	return n, err
}

// onTerminal tells whether somebody reads the output, and no program.
func onTerminal(out io.Writer) bool {
	if to, is := out.(outlet); is {
		out = to.Writer
	}
	file, is := out.(*os.File)
	return is && term.IsTerminal(int(file.Fd()))
}

// Colours of a terminal.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

// paint colours a word where the output is a terminal.
func (p *program) paint(colour, word string) string {
	if !p.colours || !onTerminal(p.Out) {
		return word
	}
	return "\x1b[" + colour + "m" + word + "\x1b[0m"
}

// mark is one character for a state.
func mark(state health.State) string {
	switch state {
	case health.Healthy:
		return "✔"
	case health.Degraded, health.Missing:
		return "✘"
	case health.Progressing, health.Suspended:
		return "…"
	default:
		return "?"
	}
}

// paintMarks colours the marks at the beginning of lines. A table is painted when its columns stand.
func (p *program) paintMarks(text string) string {
	var painted strings.Builder
	for line := range strings.Lines(text) {
		rest := strings.TrimLeft(line, " ")
		painted.WriteString(line[:len(line)-len(rest)])
		colour := ""
		switch {
		case strings.HasPrefix(rest, "✘"):
			colour = red
		case strings.HasPrefix(rest, "✔"):
			colour = green
		case strings.HasPrefix(rest, "…"), strings.HasPrefix(rest, "? "):
			colour = yellow
		}
		if colour == "" {
			painted.WriteString(rest)
			continue
		}
		_, size := utf8.DecodeRuneInString(rest)
		painted.WriteString(p.paint(colour, rest[:size]) + rest[size:])
	}
	return painted.String()
}

// finding is reason and sentence as sentences are quoted elsewhere.
func finding(h health.Health) string {
	if h.Reason == "" || h.Reason == "Succeeded" {
		return h.Message
	}
	return h.Reason + ": " + h.Message
}
