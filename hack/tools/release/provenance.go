package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

const checksums = "SHA256SUMS"

// makeProvenance writes an in-toto statement in the form of SLSA: what was made, from which commit, with which command.
// It has no time and no machine, so that whoever makes the release again gets the same statement; signed checksums say
// who made this one.
func (r *release) makeProvenance() error {
	type subject struct {
		Name   string            `json:"name"`
		Digest map[string]string `json:"digest"`
	}
	image := map[string]string{"sha256": strings.TrimPrefix(r.image, "sha256:")}
	subjects := []subject{{Name: r.repository, Digest: image}}
	slices.Sort(r.written)
	for _, name := range r.written {
		sum, err := r.sum(name)
		if err != nil {
			return err
		}
		subjects = append(subjects, subject{Name: name, Digest: map[string]string{"sha256": sum}})
	}
	modules, err := os.ReadFile(filepath.Join(r.root, "go.sum"))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(modules)
	return r.writeJSON(r.name(".intoto.json"), map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": "https://slsa.dev/provenance/v1",
		"predicate": map[string]any{
			"buildDefinition": map[string]any{
				"buildType": "https://sallyport.dev/release/v1",
				"externalParameters": map[string]any{
					"version": r.version, "repository": r.repository, "platforms": r.platforms,
					"source": "https://sallyport.dev/sallyport",
				},
				"resolvedDependencies": []any{
					map[string]any{"name": "source", "digest": map[string]string{
						"gitCommit": r.source.commit, "gitTree": r.source.tree,
					}},
					map[string]any{"name": "go", "uri": "pkg:golang/toolchain@" + runtime.Version()},
					map[string]any{"name": "go.sum", "digest": map[string]string{"sha256": hex.EncodeToString(sum[:])}},
				},
			},
			"runDetails": map[string]any{"builder": map[string]any{"id": "https://sallyport.dev/make-release/v1"}},
		},
	})
}

// makeChecksums writes what sha256sum --check reads.
func (r *release) makeChecksums() error {
	var lines bytes.Buffer
	slices.Sort(r.written)
	for _, name := range r.written {
		sum, err := r.sum(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s  %s\n", sum, name)
	}
	return r.write(checksums, lines.Bytes())
}

func (r *release) sum(name string) (string, error) {
	content, err := os.ReadFile(filepath.Join(r.output, name))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}
