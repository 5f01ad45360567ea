package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
)

// makeChart packs config/chart, with the files of config/ that it links to, and writes version and image into it.
func (r *release) makeChart() error {
	chart, err := readDir(filepath.Join(r.root, "config", "chart"), "sallyport")
	if err != nil {
		return err
	}
	for name := range chart {
		if strings.HasSuffix(name, "/kustomization.yaml") || strings.HasSuffix(name, "/.helmignore") {
			delete(chart, name)
		}
	}
	for name, lines := range map[string]map[string]string{
		"sallyport/Chart.yaml": {"version: 0.1.0": "version: " + r.version, "appVersion: 0.1.0": "appVersion: " + r.version},
		"sallyport/values.yaml": {
			"  repository: sallyport.dev/sallyport": "  repository: " + r.repository, `  digest: ""`: "  digest: " + r.image,
		},
	} {
		content := chart[name].content
		for before, after := range lines {
			if bytes.Count(content, []byte("\n"+before+"\n")) != 1 {
				return fmt.Errorf("%s has the line %q not once", name, before)
			}
			content = bytes.Replace(content, []byte("\n"+before+"\n"), []byte("\n"+after+"\n"), 1)
		}
		chart[name] = file{content: content}
	}
	archive, err := chart.tarGzip(r.source.time)
	if err != nil {
		return err
	}
	return r.write(r.name(".tgz"), archive)
}
