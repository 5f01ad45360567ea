package projection

import (
	"bytes"
	"regexp"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

var _ = registerFormat(v1alpha1.FileFormatEnv, fileFormat{validateKeys: validateVariables, write: entries(writeEnv)})

// variable matches the names of a shell's variables.
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// validateVariables refuses keys that are no names of environment variables.
func validateVariables(keys []string) error {
	for _, key := range keys {
		if !variable.MatchString(key) {
			return fault.Terminal(v1alpha1.ReasonNotRepresentable,
				`cannot be the name of an environment variable: letters and digits of ASCII and "_", no digit first`).
				OnField("key %q of value", bounded(key)).WithRemedy("rename it, or write the file with template")
		}
	}
	return nil
}

// validateVariable refuses a variable that no environment can hold. The name was validated when the layout was made,
// unless the value has other keys than were known then.
func validateVariable(key, text string) *fault.Fault {
	switch {
	case !variable.MatchString(key):
		return fault.Waiting(v1alpha1.ReasonNotRepresentable, "cannot be the name of an environment variable")
	case strings.Contains(text, "\x00"):
		return notRepresentable("holds a NUL character, which no environment variable can hold", "use another format")
	}
	return nil
}

// writeEnv writes an assignment for the shell's command ".".
func writeEnv(to *bytes.Buffer, key, text string) *fault.Fault {
	if problem := validateVariable(key, text); problem != nil {
		return problem
	}
	to.WriteString(key + "=" + shellWord(text) + "\n")
	return nil
}

// plainWord matches texts that need no quotes anywhere in a shell's assignment.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]*$`)

var doubleQuoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`")

// shellWord quotes a text for POSIX shells, only if it needs quotes, and as one piece: other readers of such files,
// systemd among them, know quotes, but not several of them in a row.
func shellWord(text string) string {
	switch {
	case plainWord.MatchString(text):
		return text
	case !strings.Contains(text, "'"):
		return "'" + text + "'"
	default:
		return `"` + doubleQuoted.Replace(text) + `"`
	}
}
