package volume

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// filePath is the rule for keys of ConfigMaps and Secrets, for each part of a path. What a part may not be besides,
// validPath says: a file cannot be written anywhere else.
var filePath = regexp.MustCompile(fmt.Sprintf(`^[-._a-zA-Z0-9]+(/[-._a-zA-Z0-9]+){0,%d}$`, maxParts-1))

const (
	maxNameLength = 253
	// maxParts is how many directories and a name a path may have.
	maxParts = 8
)

func validPath(path string) bool {
	if len(path) > maxNameLength || !filePath.MatchString(path) {
		return false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "." || strings.HasPrefix(part, InternalPrefix) {
			return false
		}
	}
	return true
}

// directories are those that files lie in, each after the one that it lies in itself.
func directories(files []*resolverv1.File) []string {
	found := map[string]bool{}
	for _, file := range files {
		for i, character := range file.GetPath() {
			if character == '/' {
				found[file.GetPath()[:i]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// ValidateFiles refuses what a resolver must never send. The resolver checks the same with better sentences, but what
// ends up on a node is for the node to decide.
func ValidateFiles(files []*resolverv1.File) error {
	if len(files) == 0 {
		return fault.Transient(v1alpha1.ReasonInternal, "the resolver answered without a single file")
	}
	if len(files) > resolverv1.MaxFiles {
		return fault.Terminal(v1alpha1.ReasonTooLarge,
			"the volume would hold %d files, more than %d", len(files), resolverv1.MaxFiles)
	}
	seen := make(map[string]bool, len(files))
	total := 0
	for _, file := range files {
		name := file.GetPath()
		if !validPath(name) || seen[name] {
			return fault.Terminal(v1alpha1.ReasonInvalidFileName, "%q cannot be the name of a file in the volume", name)
		}
		if mode := file.GetMode(); mode > 0o777 {
			return fault.Terminal(v1alpha1.ReasonInvalidSpec,
				"the file %q cannot have mode %#o, only permission bits", name, mode)
		}
		seen[name] = true
		total += len(file.GetContent())
	}
	below := directories(files)
	for _, directory := range below {
		if seen[directory] {
			return fault.Terminal(v1alpha1.ReasonInvalidFileName, "%q cannot be a file and a directory of the volume", directory)
		}
	}
	if len(files)+len(below) > resolverv1.MaxFiles {
		return fault.Terminal(v1alpha1.ReasonTooLarge,
			"the volume would hold %d files and directories, more than %d", len(files)+len(below), resolverv1.MaxFiles)
	}
	if total > resolverv1.MaxContentBytes {
		return fault.Terminal(v1alpha1.ReasonTooLarge,
			"the files of the volume would hold %d bytes, more than %d", total, resolverv1.MaxContentBytes)
	}
	return nil
}
