package canary_test

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/test/canary"
)

const secret = `s3cr3t&<"pass/word"> ü+`

func TestScanReaderFindsEveryEncoding(t *testing.T) {
	quoted, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	base64Of := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	tests := []struct{ name, content, encoding string }{
		{"plain", "user:" + secret + "\n", "text"},
		{"JSON with HTML escapes", string(quoted), "JSON string"},
		{"Go's %q", fmt.Sprintf("%q", secret), "JSON string"},
		{"hex", hex.EncodeToString([]byte(secret)), "hex"},
		{"upper-case hex", strings.ToUpper(hex.EncodeToString([]byte(secret))), "hex"},
		{"a query", "a=1&p=" + url.QueryEscape(secret), "URL encoding"},
		{"a path", "/v1/" + url.PathEscape(secret), "URL encoding"},
		{"base32", base32.StdEncoding.EncodeToString([]byte(secret)), "base32"},
		{"base64 alone", base64Of(secret), "base64"},
		{"base64 after one byte", base64Of("x" + secret + "tail"), "base64"},
		{"base64 after two bytes", base64Of("xy" + secret + "ta"), "base64"},
		{"base64 for URLs", base64.RawURLEncoding.EncodeToString([]byte(secret)), "base64"},
		{"base64 of a manifest with base64", base64Of("password: " + base64Of(secret)), "base64 twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := NewWithT(t)
			findings, _, err := scanner(g).ScanReader(strings.NewReader(tt.content))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(findings).To(ContainElement(canary.Finding{Value: "password", Encoding: tt.encoding, Count: 1}))
		})
	}
}

func TestScanReaderCountsEachOccurrenceOnce(t *testing.T) {
	g := NewWithT(t)
	// Around the chunk size, so that some occurrences lie across two reads.
	var b bytes.Buffer
	const times = 50
	for i := range times {
		b.WriteString(strings.Repeat("x", 65_531+i) + secret)
	}
	findings, read, err := scanner(g).ScanReader(&b)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(read).To(BeNumerically(">", 3<<20))
	g.Expect(findings).To(ConsistOf(canary.Finding{Value: "password", Encoding: "text", Count: times}))
}

func TestScanReaderFindsNothingInOtherText(t *testing.T) {
	g := NewWithT(t)
	findings, _, err := scanner(g).ScanReader(strings.NewReader(strings.Repeat("nothing to see here\n", 100_000)))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(findings).To(BeEmpty())
}

func TestScanWalksDirectoriesAndSkipsExceptions(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		g.Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(path, []byte(content), 0o600)).To(Succeed())
		return path
	}
	leak := write("etcd/member/wal", "…"+secret)
	write("etcd/member/clean", "clean")
	write("vault/data", secret)
	g.Expect(os.Symlink(leak, filepath.Join(dir, "etcd", "link"))).To(Succeed())

	report, err := scanner(g).Scan([]string{dir}, []string{filepath.Join(dir, "vault")})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(report.Files).To(Equal(2))
	g.Expect(report.Findings).To(ConsistOf(canary.Finding{File: leak, Value: "password", Encoding: "text", Count: 1}))
}

func TestScanOfAMissingPlaceFails(t *testing.T) {
	g := NewWithT(t)
	_, err := scanner(g).Scan([]string{filepath.Join(t.TempDir(), "nowhere")}, nil)
	g.Expect(err).To(MatchError(os.ErrNotExist))
}

func TestNewRefusesWhatChanceWouldFind(t *testing.T) {
	g := NewWithT(t)
	_, err := canary.New(canary.Value{Name: "pin", Text: "1234567"})
	g.Expect(err).To(MatchError(ContainSubstring(`"pin" is shorter`)))
	g.Expect(err).NotTo(MatchError(ContainSubstring("1234567")))
	_, err = canary.New()
	g.Expect(err).To(HaveOccurred())
}

func TestValueNeverPrintsItsText(t *testing.T) {
	g := NewWithT(t)
	v := canary.Value{Name: "password", Text: secret}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		g.Expect(fmt.Sprintf(verb, v)).NotTo(ContainSubstring("s3cr3t"), verb)
	}
}

func scanner(g *WithT) *canary.Scanner {
	s, err := canary.New(canary.Value{Name: "password", Text: secret})
	g.Expect(err).NotTo(HaveOccurred())
	return s
}
