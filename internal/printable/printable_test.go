package printable

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestText(t *testing.T) {
	g := NewWithT(t)
	for text, shown := range map[string]string{
		"1.21.1+ent":            "1.21.1+ent",
		"größe 漢":               "größe 漢",
		"a\x1b[2Jb":             `a\x1b[2Jb`,
		"a\r\nb":                `a\r\nb`,
		"\x00":                  `\x00`,
		"a\u202eb":              `a\u202eb`,
		"\xff":                  `\xff`,
		strings.Repeat("x", 40): strings.Repeat("x", 40),
		strings.Repeat("x", 41): strings.Repeat("x", 37) + "...",
		"":                      "",
	} {
		g.Expect(Text(text, 40)).To(Equal(shown))
	}
	for limit := range 60 {
		for _, text := range []string{strings.Repeat("\x1b", 50), strings.Repeat("漢", 50), "ab\u202e", strings.Repeat("x", 59)} {
			g.Expect(len(Text(text, limit))).To(BeNumerically("<=", limit))
			g.Expect(isPrintable(Text(text, limit))).To(BeTrue())
		}
	}
}

func TestQuote_CannotBeTakenForAPartOfTheSentence(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Quote(`x"; run this`)).To(Equal(`"x\"; run this"`))
	g.Expect(len(Quote(strings.Repeat("y", 5000)))).To(BeNumerically("<=", 130))
	g.Expect(Line("a\nb")).To(Equal(`a\nb`))
	g.Expect(Texts([]string{"a\n", "b", "c"}, 10, 2)).To(Equal([]string{`a\n`, "b"}))
}
