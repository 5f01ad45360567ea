package volume

import (
	"fmt"
	"regexp"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// fileName is the rule for keys of ConfigMaps and Secrets; InternalPrefix is excluded besides. No slash: a file cannot
// be written anywhere else.
var fileName = regexp.MustCompile(fmt.Sprintf(`^[-._a-zA-Z0-9]{1,%d}$`, maxNameLength))

const maxNameLength = 253

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
		if !fileName.MatchString(name) || name == "." || strings.HasPrefix(name, InternalPrefix) || seen[name] {
			return fault.Terminal(v1alpha1.ReasonInvalidFileName, "%q cannot be the name of a file in the volume", name)
		}
		if mode := file.GetMode(); mode > 0o777 {
			return fault.Terminal(v1alpha1.ReasonInvalidSpec,
				"the file %q cannot have mode %#o, only permission bits", name, mode)
		}
		seen[name] = true
		total += len(file.GetContent())
	}
	if total > resolverv1.MaxContentBytes {
		return fault.Terminal(v1alpha1.ReasonTooLarge,
			"the files of the volume would hold %d bytes, more than %d", total, resolverv1.MaxContentBytes)
	}
	return nil
}
