package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var section = regexp.MustCompile(`(?m)^###? \[?([^\]\s]+)\]?.*$`)

// makeNotes cuts the version's part out of CHANGELOG.md; while the version has none, what is unreleased is meant.
func (r *release) makeNotes() error {
	content, err := os.ReadFile(filepath.Join(r.root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	part := changes(string(content), r.version)
	if part == "" {
		part = changes(string(content), "Unreleased")
	}
	if part == "" {
		return fmt.Errorf("CHANGELOG.md has nothing for %s, and nothing unreleased", r.version)
	}
	var notes bytes.Buffer
	fmt.Fprintf(&notes, "# Sallyport %s\n\nImage: `%s`\n\n%s\n", r.version, r.reference(), part)
	return r.write("release-notes.md", notes.Bytes())
}

// changes returns what stands below the heading of a version, up to that of another one.
func changes(changelog, version string) string {
	headings := section.FindAllStringSubmatchIndex(changelog, -1)
	for i, heading := range headings {
		if strings.TrimPrefix(changelog[heading[2]:heading[3]], "v") != version {
			continue
		}
		end := len(changelog)
		if i+1 < len(headings) {
			end = headings[i+1][0]
		}
		return strings.TrimSpace(changelog[heading[1]:end])
	}
	return ""
}
