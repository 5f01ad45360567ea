package transport

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// CleanPath trims the slashes around a path and refuses what would name another one than it seems to: dots are resolved
// by HTTP clients and proxies on the way, and Vault's policies are about the path that arrives. Escaping is done where
// the URL is made.
func CleanPath(field, raw string) (string, error) {
	invalid := func(problem, remedy string) (string, error) {
		return "", fault.Terminal(v1alpha1.ReasonInvalidSpec, "%s %q: %s", field, raw, problem).WithRemedy("%s", remedy)
	}
	path := strings.Trim(raw, "/")
	switch {
	case path == "":
		return invalid("names nothing", "give a path such as team/oracle")
	case !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }):
		return invalid("holds a character that cannot be printed", "leave it out")
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "":
			return invalid("holds an empty part", "write one slash, not two")
		case ".", "..":
			return invalid(`holds "`+segment+`"`, "write the path itself")
		}
	}
	return path, nil
}
