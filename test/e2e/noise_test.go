package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/gomega"
)

// errorsToExpect are the lines at level error that the specs themselves cause, by their message, and why somebody who
// runs Sallyport would have to act on them.
var errorsToExpect = map[string]string{}

// expectQuietLogs looks through all that Sallyport's programs wrote in the whole run, those that were killed included:
// a line at level error, or with a stack trace, is one that a person must act on, and nothing else is.
func expectQuietLogs() {
	files, err := filepath.Glob(filepath.Join(evidence, "*_"+systemNamespace+"_sallyport-*"))
	Expect(err).NotTo(HaveOccurred())
	Expect(files).NotTo(BeEmpty())
	noise, lines := map[string]string{}, 0
	for _, file := range files {
		for line := range writtenLines(file) {
			if strings.Contains(line, fmt.Sprintf(`"version":%q`, formerVersion)) { // the release before, which an upgrade replaces
				break
			}
			lines++
			if kind := noiseIn(line); kind != "" {
				noise[kind] = line
			}
		}
	}
	Expect(lines).To(BeNumerically(">", 10))
	Expect(noise).To(BeEmpty(), "lines at level error, one of each kind")
}

// noiseIn is the kind of a line that is noise, else nothing.
func noiseIn(line string) string {
	var entry struct{ Level, Logger, Msg, Error, Stacktrace string }
	if err := json.Unmarshal([]byte(line), &entry); err != nil {
		return "no entry of a log: " + line[:min(len(line), 60)]
	}
	if _, expected := errorsToExpect[entry.Msg]; expected ||
		entry.Stacktrace == "" && slices.Contains([]string{"debug", "info"}, entry.Level) {
		return ""
	}
	return fmt.Sprintf("%s %s %s: %.60s", entry.Level, entry.Logger, entry.Msg, entry.Error)
}

// writtenLines are the lines that a container wrote, as the runtime keeps them: time, stream, and whether the line goes
// on in the next entry (P) or ends here (F).
func writtenLines(file string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		content, err := os.Open(file)
		Expect(err).NotTo(HaveOccurred())
		defer func() { _ = content.Close() }()
		entries := bufio.NewScanner(content)
		entries.Buffer(nil, 1<<20)
		var line strings.Builder
		for entries.Scan() {
			parts := strings.SplitN(entries.Text(), " ", 4)
			if len(parts) < 4 {
				continue
			}
			line.WriteString(parts[3])
			if parts[2] == "F" {
				if !yield(line.String()) {
					return
				}
				line.Reset()
			}
		}
	}
}
