package v1alpha1

import "strings"

// EnvironmentConnections returns the Connections that AnnotationEnv among the annotations names, in its order.
func EnvironmentConnections(annotations map[string]string) []string {
	var names []string
	for source := range strings.SplitSeq(annotations[AnnotationEnv], ",") {
		name := source
		if _, after, prefixed := strings.Cut(source, "="); prefixed {
			name = after
		}
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}
