package transport

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestCleanPath(t *testing.T) {
	tests := []struct{ name, raw, path, sentence string }{
		{name: "a path", raw: "team/oracle", path: "team/oracle"},
		{name: "slashes around", raw: "//team/oracle/", path: "team/oracle"},
		{name: "spaces and signs", raw: "a b/?#%2f;:@&=+$,", path: "a b/?#%2f;:@&=+$,"},
		{name: "other scripts", raw: "größe/雪", path: "größe/雪"},
		{name: "dots in a name", raw: "a..b/.c/...", path: "a..b/.c/..."},
		{name: "nothing", raw: "", sentence: `secretPath "": names nothing; give a path such as team/oracle`},
		{name: "slashes only", raw: "//", sentence: `secretPath "//": names nothing; give a path such as team/oracle`},
		{name: "up", raw: "a/../b", sentence: `secretPath "a/../b": holds ".."; write the path itself`},
		{name: "up at the end", raw: "a/..", sentence: `secretPath "a/..": holds ".."; write the path itself`},
		{name: "here", raw: "a/./b", sentence: `secretPath "a/./b": holds "."; write the path itself`},
		{name: "two slashes", raw: "a//b", sentence: `secretPath "a//b": holds an empty part; write one slash, not two`},
		{name: "a line break", raw: "a\nb", sentence: `secretPath "a\nb": holds a character that cannot be printed; leave it out`},
		{name: "a zero byte", raw: "a\x00b", sentence: `secretPath "a\x00b": holds a character that cannot be printed; leave it out`},
		{name: "not UTF-8", raw: "a\xff", sentence: `secretPath "a\xff": holds a character that cannot be printed; leave it out`},
		{name: "text direction", raw: "a\u202eb", sentence: `secretPath "a\u202eb": holds a character that cannot be printed; leave it out`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			path, err := CleanPath("secretPath", test.raw)
			g.Expect(path).To(Equal(test.path))
			if test.sentence == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(test.sentence))
			}
		})
	}
}
