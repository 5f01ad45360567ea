package projection

import (
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// typeOnly is what every Connection has.
var typeOnly = []File{{Path: typeFile, Content: []byte("t")}}

func numbered(count int) []string {
	keys := make([]string, 0, count)
	for i := range count {
		keys = append(keys, "k"+strconv.Itoa(i))
	}
	return keys
}

func TestValidateNamesAllowsTheKeysOfConfigMaps(t *testing.T) {
	for name, keys := range map[string][]string{
		"none":                                 nil,
		"plain":                                {"host", "service_name", "a-b", "A.B", "9"},
		"hidden files":                         {".pgpass", ".a..b"},
		"the longest":                          {strings.Repeat("k", 253)},
		"type, whose value is looked at later": {"type"},
		"as many as fit":                       numbered(MaxFiles - 1),
		"type is counted once":                 append(numbered(MaxFiles-1), "type"),
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(validateNames(typeOnly, keys)).To(Succeed())
		})
	}
}

func TestValidateNamesSaysTheRuleAndTheCure(t *testing.T) {
	const charset = `only letters and digits of ASCII, "-", "_" and "." are allowed`
	const reserved = `it must not be "." and not begin with "..", which the volume keeps for itself`
	for _, row := range []struct{ name, key, rule string }{
		{"empty", "", "it is empty"},
		{"a slash", "a/b", charset},
		{"a way out", "../../etc/passwd", reserved},
		{"a dot", ".", reserved},
		{"two dots", "..", reserved},
		{"the volume's data", "..data", reserved},
		{"a directory of the volume", "..2026_01_02", reserved},
		{"a blank", "a b", charset},
		{"a line break at the end", "a\n", charset},
		{"a NUL", "a\x00b", charset},
		{"a letter beyond ASCII", "größe", charset},
		{"another script that looks the same", "раss", charset},
		{"a dollar", "$HOME", charset},
		{"a backslash", `a\b`, charset},
		{"bytes that are no text", "\xff", charset},
		{"an expression", "vault.secret(a)", charset},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			err := validateNames(typeOnly, []string{"zz", row.key, "aa"})
			g.Expect(err).To(MatchError("key " + strconv.Quote(row.key) + " of value cannot be the name of a file: " + row.rule +
				"; rename it, or move it into an object under another key"))
			g.Expect(fault.Is(err, v1alpha1.ReasonInvalidFileName)).To(BeTrue())
			g.Expect(fault.From(err).Class).To(Equal(fault.ClassTerminal))
		})
	}
	t.Run("too long", func(t *testing.T) {
		err := validateNames(typeOnly, []string{strings.Repeat("k", 254)})
		NewWithT(t).Expect(err).To(MatchError(
			ContainSubstring(`k…" of value cannot be the name of a file: it has 254 bytes, at most 253 are allowed`)))
		NewWithT(t).Expect(len(err.Error())).To(BeNumerically("<", 300))
	})
	t.Run("several", func(t *testing.T) {
		err := validateNames(typeOnly, []string{"b b", "ok", "a a"})
		NewWithT(t).Expect(err).To(MatchError(
			And(HavePrefix(`key "a a" of value`), HaveSuffix(" (2 keys are such in all)"))))
	})
}

func TestValidateNamesCountsTheFiles(t *testing.T) {
	g := NewWithT(t)
	err := validateNames(typeOnly, numbered(MaxFiles))
	g.Expect(err).To(MatchError(`value makes 513 files, the file "type" included; a volume holds at most 512: ` +
		`put several keys into one object, which becomes one file, or name files`))
	g.Expect(fault.Is(err, v1alpha1.ReasonTooLarge)).To(BeTrue())
	g.Expect(fault.From(err).Class).To(Equal(fault.ClassTerminal))
}

func TestValidateNamesNeedsAType(t *testing.T) {
	_, err := NewLayout(&v1alpha1.ConnectionSpec{}, nil)
	NewWithT(t).Expect(err).To(MatchError(HavePrefix("spec.type is empty")))
	NewWithT(t).Expect(fault.Is(err, v1alpha1.ReasonInvalidSpec)).To(BeTrue())
}

func TestValidateNamesLeavesTheKeysInTheirOrder(t *testing.T) {
	keys := []string{"b", "a"}
	NewWithT(t).Expect(validateNames(typeOnly, keys)).To(Succeed())
	NewWithT(t).Expect(keys).To(Equal([]string{"b", "a"}))
}
