package policy

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// quote writes a text as HCL has it. What is not printable, a line break above all, is escaped.
func quote(text string) string { return strconv.Quote(text) }

// WriteHCL writes a policy as "vault policy write" takes it: each rule is one line, with a comment that says who needs
// it.
func (p *Policy) WriteHCL(w io.Writer) {
	write := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) } // into memory
	write("# %s", p.head())
	for _, note := range p.Notes {
		write("# Note: %s", oneLine(note))
	}
	for _, problem := range p.Problems {
		write("# NOT IN HERE: %s", oneLine(problem))
	}
	session := false
	for n := range p.Rules {
		rule := &p.Rules[n]
		if rule.Default && !session {
			session = true
			write("\n# What the session itself needs. Vault's policy \"default\" has it, too.")
		}
		write("\n# %s\n%s", strings.Join(rule.For, ", "), rule.hcl())
	}
	if len(p.Wanted) > 0 {
		write("\n# What may be wanted besides:")
	}
	for n := range p.Wanted {
		write("# %s\n# %s", strings.Join(p.Wanted[n].For, ", "), p.Wanted[n].hcl())
	}
}

func (p *Policy) head() string {
	head := p.For
	if p.URL != "" {
		head += " at " + oneLine(p.URL)
	}
	if p.VaultNamespace != "" {
		head += ", a policy of the namespace " + quote(p.VaultNamespace)
	}
	return head
}

func (r *Rule) hcl() string {
	quoted := make([]string, len(r.Capabilities))
	for n, capability := range r.Capabilities {
		quoted[n] = quote(capability)
	}
	return fmt.Sprintf("path %s { capabilities = [%s] }", quote(r.Path), strings.Join(quoted, ", "))
}

// oneLine keeps a text from ending the comment that it stands in.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
