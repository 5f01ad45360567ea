package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

const before = `# Performance

<!-- measured: publish -->
former
<!-- end -->

<!-- measured: change -->
as it was
<!-- end -->
`

const published = `{"name": "publish", "about": "volumes", "time": "2026-01-02T03:04:05Z", "command": "hack/bench.sh TestPublish",
	"machine": {"cpu": "CPU", "cores": "2", "memory": "24683620 kB", "go": "go1"}, "columns": ["concurrency", "volumes/s"],
	"rows": [{"concurrency": 1, "volumes/s": 1234.5, "floor/s": 0.0123}, {"concurrency": 20, "volumes/s": 0}],
	"limits": [{"name": "rate", "value": 1, "bound": 2, "atLeast": true}, {"name": "aim", "value": 1, "bound": 2, "goal": true, "held": true}]}`

func TestFiguresComeFromTheFilesThatThereAre(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	document := filepath.Join(dir, "performance.md")
	images := filepath.Join(dir, "images")
	g.Expect(os.Mkdir(images, 0o700)).To(Succeed())
	g.Expect(os.WriteFile(document, []byte(before), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "publish.json"), []byte(published), 0o600)).To(Succeed())
	for range 2 { // the second time changes nothing
		g.Expect(run([]string{dir, document, images})).To(Succeed())
		content, err := os.ReadFile(document)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(content)).To(Equal(`# Performance

<!-- measured: publish -->
2 January 2026, 03:04 UTC: ` + "`hack/bench.sh TestPublish`" + `, on 2 cores (CPU), 24 GiB, go1. Volumes.

| concurrency | 1 | 20 |
|---|---|---|
| volumes/s | 1,235 | 0 |

| Limit | measured | bound | |
|---|---|---|---|
| rate | 1 | at least 2 | **not held** |
| aim | 1 | at most 2 | goal, reached |

![Volumes mounted a second](images/bench-mounting.svg)

![99 % of the volumes are mounted within](images/bench-mounting-p99.svg)
<!-- end -->

<!-- measured: change -->
as it was
<!-- end -->
`))
	}
	drawn, err := os.ReadFile(filepath.Join(images, "bench-mounting.svg"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(drawn)).To(And(ContainSubstring(">1,235<"), ContainSubstring(">0.0123<"), ContainSubstring(">20 at a time<")))
	for decoder := xml.NewDecoder(strings.NewReader(string(drawn))); ; {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		g.Expect(err).NotTo(HaveOccurred())
	}
}

func TestAMarkerWithoutAnEndIsAnError(t *testing.T) {
	g := NewWithT(t)
	for _, document := range []string{"<!-- measured: a -->", "<!-- measured: a -->\n<!-- measured: b -->\n" + end} {
		_, err := fill(document, "a", "")
		g.Expect(err).To(MatchError(ContainSubstring("has no")))
	}
}

// What the charts and the document show is what the measurements write.
func TestMeasurementsWriteWhatIsShown(t *testing.T) {
	g := NewWithT(t)
	files, err := filepath.Glob("../../test/bench/*_test.go")
	g.Expect(err).NotTo(HaveOccurred())
	source := ""
	for _, file := range files {
		content, readErr := os.ReadFile(file)
		g.Expect(readErr).NotTo(HaveOccurred())
		source += string(content)
	}
	document, err := os.ReadFile("../../docs/performance.md")
	g.Expect(err).NotTo(HaveOccurred())
	names := named(string(document))
	g.Expect(names).NotTo(BeEmpty())
	for _, name := range names {
		g.Expect(source).To(Or(ContainSubstring(`newReport("`+name+`"`), ContainSubstring(`"`+name+`"`)), name)
		_, err := fill(string(document), name, "")
		g.Expect(err).NotTo(HaveOccurred())
	}
	for _, c := range charts {
		g.Expect(names).To(ContainElement(c.report), "%s has no place in docs/performance.md", c.name)
		row := map[string]float64{c.by: 1}
		for _, b := range c.bars {
			g.Expect(source).To(ContainSubstring(`"`+b.column+`"`), "%s of %s", b.column, c.name)
			row[b.column] = 2
		}
		g.Expect(source).To(ContainSubstring(`"` + c.by + `"`))
		g.Expect(c.draw(report{Time: time.Now(), Rows: []map[string]float64{row}})).To(ContainSubstring("<svg"))
	}
}
