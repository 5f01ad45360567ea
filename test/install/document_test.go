package install

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// section is a part of a document: its heading, its blocks of commands, and the YAML that it shows.
type section struct {
	title     string
	blocks    []block
	manifests []string
}

// block is either commands to type, or a transcript: commands after "$ ", with what they print.
type block struct {
	commands   string
	transcript []exchange
}

type exchange struct {
	command string
	output  []string
}

var (
	heading = regexp.MustCompile(`(?m)^#{2,4} (.+)$`)
	fence   = regexp.MustCompile("(?ms)^```(console|yaml)\n(.*?\n)```$")
)

// sections reads a document of the checkout.
func sections(path string) []section {
	content, err := os.ReadFile(filepath.Join(checkout(), path))
	if err != nil {
		panic(err)
	}
	text := string(content)
	found := heading.FindAllStringSubmatchIndex(text, -1)
	var all []section
	for i, at := range found {
		end := len(text)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		s := section{title: text[at[2]:at[3]]}
		for _, code := range fence.FindAllStringSubmatch(text[at[1]:end], -1) {
			if code[1] == "yaml" {
				s.manifests = append(s.manifests, code[2])
			} else {
				s.blocks = append(s.blocks, parseBlock(code[2]))
			}
		}
		all = append(all, s)
	}
	return all
}

func parseBlock(code string) block {
	if !strings.HasPrefix(code, "$ ") {
		return block{commands: code}
	}
	var b block
	for line := range strings.Lines(strings.TrimSuffix(code, "\n")) {
		line = strings.TrimSuffix(line, "\n")
		if command, found := strings.CutPrefix(line, "$ "); found {
			b.transcript = append(b.transcript, exchange{command: command})
			continue
		}
		last := &b.transcript[len(b.transcript)-1]
		last.output = append(last.output, line)
	}
	return b
}

// withTitle returns the section of that heading.
func withTitle(path, title string) section {
	for _, s := range sections(path) {
		if s.title == title {
			return s
		}
	}
	panic(path + " has no section " + title)
}

// random matches words with digits, such as times and ages, and names that end as those of pods do, in five letters of
// an alphabet without vowels.
var random = regexp.MustCompile(`\S*(\d|-[bcdfghjklmnpqrstvwxz2456789]{5}\b)\S*`)

// shape is a line without what differs from run to run, and without the width of columns.
func shape(line string) string {
	return strings.Join(strings.Fields(random.ReplaceAllString(line, "*")), " ")
}
