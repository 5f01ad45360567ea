package projection

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Names of the fixed files, which the Service Binding specification defines.
const (
	// typeFile holds spec.type.
	typeFile = "type"
	// providerFile holds spec.provider.
	providerFile = "provider"
)

// MaxFiles is the cap on the number of files of one volume, the file type included. The protocol between node and
// resolver has the same.
const MaxFiles = 512

// validateNames refuses keys that cannot be files beside the fixed ones, before a secret is read. A key with the name
// of a fixed file is left to validateFixedKey, which needs its value.
func validateNames(fixed []File, keys []string) error {
	sorted := slices.Sorted(slices.Values(keys))
	files := len(sorted)
	for _, file := range fixed {
		if _, found := slices.BinarySearch(sorted, file.Path); !found {
			files++
		}
	}
	if files > MaxFiles {
		return fault.Terminal(v1alpha1.ReasonTooLarge,
			`value makes %d files, the file "type" included; a volume holds at most %d: `+
				"put several keys into one object, which becomes one file, or name files", files, MaxFiles)
	}
	return validateEach(sorted)
}

// validateEach reports the first bad name and how many more there are.
func validateEach(sorted []string) error {
	var first, rule string
	count := 0
	for _, key := range sorted {
		broken := brokenRule(key)
		if broken == "" {
			continue
		}
		if count++; count == 1 {
			first, rule = key, broken
		}
	}
	if count == 0 {
		return nil
	}
	more := ""
	if count > 1 {
		more = fmt.Sprintf(" (%d keys are such in all)", count)
	}
	return fault.Terminal(v1alpha1.ReasonInvalidFileName, "cannot be the name of a file: %s", rule).
		OnField("key %q of value", bounded(first)).WithRemedy("rename it, or move it into an object under another key%s", more)
}

// brokenRule returns the rule for a ConfigMap's keys that the key breaks, or "". The same rules keep a file from
// colliding with ..data and its target directories.
func brokenRule(key string) string {
	switch {
	case len(validation.IsConfigMapKey(key)) == 0:
		return ""
	case key == "":
		return "it is empty"
	case key == "." || strings.HasPrefix(key, ".."):
		return `it must not be "." and not begin with "..", which the volume keeps for itself`
	case len(key) > validation.DNS1123SubdomainMaxLength:
		return fmt.Sprintf("it has %d bytes, at most %d are allowed", len(key), validation.DNS1123SubdomainMaxLength)
	default:
		return `only letters and digits of ASCII, "-", "_" and "." are allowed`
	}
}

// maxParts is how many directories and a name a path may have, and maxPathBytes how long it may be. The node has the
// same.
const (
	maxParts     = 8
	maxPathBytes = validation.DNS1123SubdomainMaxLength
)

// validatePaths repeats the rules of the CRD for chosen files, for an object may be older than they are, and looks
// whether all can be there beside each other.
func validatePaths(files []v1alpha1.ConnectionFile) error {
	seen, directories := map[string]bool{typeFile: true, providerFile: true}, map[string]string{}
	for i := range files {
		path := files[i].Path
		problem := brokenPathRule(path)
		switch {
		case problem != "":
		case seen[path]:
			problem = "there is another file of this name"
		case directories[path] != "":
			problem = fmt.Sprintf("it is the directory of %q", bounded(directories[path]))
		}
		for directory := range parents(path) {
			if problem == "" && seen[directory] {
				problem = fmt.Sprintf("%q is a file, and no directory", bounded(directory))
			}
			directories[directory] = path
		}
		if problem != "" {
			return fault.Terminal(v1alpha1.ReasonInvalidFileName, "files[%d].path %q cannot be the name of a file: %s",
				i, bounded(path), problem).WithRemedy("choose another one")
		}
		seen[path] = true
	}
	if count := len(seen) + len(directories); count > MaxFiles {
		return fault.Terminal(v1alpha1.ReasonTooLarge, "there would be %d files and directories; a volume holds at most %d", count, MaxFiles)
	}
	return nil
}

// brokenPathRule returns the rule that a path breaks, or "".
func brokenPathRule(path string) string {
	parts := strings.Split(path, "/")
	switch {
	case path == "":
		return "it is empty"
	case len(path) > maxPathBytes:
		return fmt.Sprintf("it has %d bytes, at most %d are allowed", len(path), maxPathBytes)
	case len(parts) > maxParts:
		return fmt.Sprintf("it has %d parts, at most %d are allowed", len(parts), maxParts)
	case slices.Contains(parts, ""):
		return `it begins or ends with "/", or has two of them together`
	}
	for _, part := range parts {
		if broken := brokenRule(part); broken != "" {
			return broken
		}
	}
	return ""
}

// parents are the directories that lead to a path.
func parents(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i, character := range path {
			if character == '/' && !yield(path[:i]) {
				return
			}
		}
	}
}

// bounded shortens a text of the user's to what an error shows of it.
func bounded(key string) string {
	const most = 80
	characters := []rune(key)
	if len(characters) <= most {
		return key
	}
	return string(characters[:most-1]) + "…"
}
