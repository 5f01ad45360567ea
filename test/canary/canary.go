// Package canary proves that a secret left no copy: it searches files for secret values, raw and in the encodings
// that a leak would wear.
//
// It reads bytes, never through the program that wrote them, so what it does not find is not in the file: etcd's
// write-ahead log and database are uncompressed, and deleted values stay in both until they are overwritten. It must
// never print what it searches for; a Finding carries the name of the value, not the value.
package canary

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// minLength is the shortest value that can be searched for. Shorter ones are found everywhere by chance, most of all
// their base64 form, which loses up to four characters at its ends.
const minLength = 8

// Value is something to search for. Name is what findings call it.
type Value struct {
	Name string
	Text string
}

// String redacts, so that a Value in a log line or in a failed assertion is harmless.
func (v Value) String() string { return fmt.Sprintf("value %q (%d bytes)", v.Name, len(v.Text)) }

// GoString redacts as String does.
func (v Value) GoString() string { return v.String() }

// Finding says that a file holds a value.
type Finding struct {
	File     string
	Value    string // its name
	Encoding string
	Count    int
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %q as %s, %d times", f.File, f.Value, f.Encoding, f.Count)
}

// Report is the outcome of a scan. Files and Bytes say how much was read: a scan of nothing finds nothing.
type Report struct {
	Findings []Finding
	Files    int
	Bytes    int64
}

// needle is one form of one value.
type needle struct {
	value    string
	encoding string
	bytes    []byte
}

// Scanner searches for a fixed set of values.
type Scanner struct {
	needles []needle
	longest int
}

// New returns a Scanner for values. A value too short to be told from chance is an error, not silently skipped.
func New(values ...Value) (*Scanner, error) {
	if len(values) == 0 {
		return nil, errors.New("no value to search for")
	}
	s := &Scanner{}
	for _, v := range values {
		if len(v.Text) < minLength {
			return nil, fmt.Errorf("value %q is shorter than %d bytes: it would be found by chance", v.Name, minLength)
		}
		s.needles = append(s.needles, forms(v)...)
	}
	for _, n := range s.needles {
		s.longest = max(s.longest, len(n.bytes))
	}
	return s, nil
}

// forms lists a value's encodings, each once: many values look the same in several of them.
func forms(v Value) []needle {
	raw := []byte(v.Text)
	all := []needle{
		{v.Name, "text", raw},
		{v.Name, "JSON string", jsonBody(v.Text, true)},
		{v.Name, "JSON string", jsonBody(v.Text, false)},
		{v.Name, "hex", []byte(hex.EncodeToString(raw))},
		{v.Name, "hex", []byte(strings.ToUpper(hex.EncodeToString(raw)))},
		{v.Name, "URL encoding", []byte(url.QueryEscape(v.Text))},
		{v.Name, "URL encoding", []byte(url.PathEscape(v.Text))},
		{v.Name, "Go string", goBody(v.Text)},
		{v.Name, "base32", base32Body(raw)},
	}
	for shift := range 3 {
		all = append(all,
			needle{v.Name, "base64", base64Body(base64.StdEncoding, raw, shift)},
			needle{v.Name, "base64", base64Body(base64.URLEncoding, raw, shift)})
	}
	// Base64 of base64 is what a Secret's value looks like inside a manifest that is itself in a Secret.
	once := []byte(base64.StdEncoding.EncodeToString(raw))
	for shift := range 3 {
		all = append(all, needle{v.Name, "base64 twice", base64Body(base64.StdEncoding, once, shift)})
	}
	var distinct []needle
	for _, n := range all {
		if !slices.ContainsFunc(distinct, func(d needle) bool { return bytes.Equal(d.bytes, n.bytes) }) {
			distinct = append(distinct, n)
		}
	}
	return distinct
}

// jsonBody is the value inside the quotes of a JSON string. Go's encoder escapes <, > and & by default; others do not.
func jsonBody(text string, escapeHTML bool) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	if err := e.Encode(text); err != nil {
		return []byte(text)
	}
	return unquoted(b.String())
}

// goBody is the value as %q prints it.
func goBody(text string) []byte { return unquoted(fmt.Sprintf("%q", text)) }

func unquoted(quoted string) []byte {
	quoted = strings.TrimSpace(quoted)
	return []byte(quoted[1 : len(quoted)-1])
}

// base64Body is what remains the same of the value's base64 when shift bytes (modulo three) stand before it and
// anything behind it: the groups that mix in a neighbour's bits are left out.
func base64Body(e *base64.Encoding, raw []byte, shift int) []byte {
	padded := append(make([]byte, shift), raw...)
	first := (shift*8 + 5) / 6
	last := len(padded) * 8 / 6
	return []byte(e.WithPadding(base64.NoPadding).EncodeToString(padded)[first:last])
}

func base32Body(raw []byte) []byte {
	return []byte(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw)[:len(raw)*8/5])
}

// Scan searches every regular file below each root (a root may be a file), except below the paths in except. Files
// that vanish meanwhile are skipped: logs are rotated and etcd replaces its files. A root that is not there is an
// error, because a scan of the wrong place would find nothing too.
func (s *Scanner) Scan(roots, except []string) (*Report, error) {
	report := &Report{}
	for _, root := range roots {
		if _, err := os.Stat(root); err != nil {
			return nil, fmt.Errorf("looking for what to scan: %w", err)
		}
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case slices.Contains(except, path):
				if entry.IsDir() {
					return fs.SkipDir
				}
				return nil
			case !entry.Type().IsRegular():
				return nil
			}
			return s.scanFile(path, report)
		})
		if err != nil {
			return nil, fmt.Errorf("scanning %s: %w", root, err)
		}
	}
	sort.Slice(report.Findings, func(i, j int) bool {
		return report.Findings[i].String() < report.Findings[j].String()
	})
	return report, nil
}

func (s *Scanner) scanFile(path string, report *Report) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	findings, read, err := s.ScanReader(f)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	for i := range findings {
		findings[i].File = path
	}
	report.Findings = append(report.Findings, findings...)
	report.Files++
	report.Bytes += read
	return nil
}

// ScanReader searches one stream and says how many bytes it had. File is left empty in the findings.
func (s *Scanner) ScanReader(r io.Reader) ([]Finding, int64, error) {
	const chunk = 1 << 20
	var (
		counts = make([]int, len(s.needles))
		buffer = make([]byte, 0, chunk+s.longest)
		total  int64
	)
	for {
		n, err := io.ReadFull(r, buffer[len(buffer):cap(buffer)])
		total += int64(n)
		fresh := len(buffer)
		buffer = buffer[:len(buffer)+n]
		s.count(buffer, fresh, counts)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return s.findings(counts), total, nil
		}
		if err != nil {
			return nil, total, err
		}
		// A value may lie across two chunks: keep what could be the beginning of one.
		kept := copy(buffer, buffer[len(buffer)-(s.longest-1):])
		buffer = buffer[:kept]
	}
}

// count adds the occurrences that end in buffer[fresh:]; those that end before were counted with the last chunk.
func (s *Scanner) count(buffer []byte, fresh int, counts []int) {
	for i, n := range s.needles {
		start := max(0, fresh-len(n.bytes)+1)
		counts[i] += bytes.Count(buffer[min(start, len(buffer)):], n.bytes)
	}
}

// findings adds up the counts per value and encoding: several forms go by one name.
func (s *Scanner) findings(counts []int) []Finding {
	var out []Finding
	for i, n := range s.needles {
		if counts[i] == 0 {
			continue
		}
		at := slices.IndexFunc(out, func(f Finding) bool { return f.Value == n.value && f.Encoding == n.encoding })
		if at < 0 {
			out = append(out, Finding{Value: n.value, Encoding: n.encoding})
			at = len(out) - 1
		}
		out[at].Count += counts[i]
	}
	return out
}
