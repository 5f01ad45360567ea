package restart

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/abridged"
)

// seen are digests of Connections by name. A digest is of what the Connection says and of its secrets' versions; no
// reference is resolved for it.
type seen map[string]string

// observation is what was seen at one moment.
type observation struct {
	seen seen
	// unversioned are the secrets whose changes cannot be seen.
	unversioned []string
}

// parseSeen reads the annotation. What it does not understand was never seen, and neither were digests that another
// version of Sallyport made from something else: an upgrade rolls nothing.
func parseSeen(text string) seen {
	parsed := seen{}
	for entry := range strings.SplitSeq(text, ",") {
		if name, digest, found := strings.Cut(entry, "="); found && strings.HasPrefix(digest, digestForm) {
			parsed[name] = digest
		}
	}
	return parsed
}

// String is the annotation's value. Names of objects hold neither comma nor equals sign.
func (s seen) String() string {
	entries := make([]string, 0, len(s))
	for _, name := range slices.Sorted(maps.Keys(s)) {
		entries = append(entries, name+"="+s[name])
	}
	return strings.Join(entries, ",")
}

// changedSince returns the names of the Connections that are in both and differ.
func (s seen) changedSince(before seen) []string {
	var changed []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if digest, known := before[name]; known && digest != s[name] {
			changed = append(changed, name)
		}
	}
	return changed
}

// keep takes the digests of some Connections back to what they were before.
func (s seen) keep(before seen, names []string) {
	for _, name := range names {
		s[name] = before[name]
	}
}

// mounted returns the Connections that pods of the template mount, sorted: those of its volumes, and those that
// admission gives its pods because an annotation asks for variables.
func mounted(template *corev1.PodTemplateSpec) []string {
	names := v1alpha1.EnvironmentConnections(template.Annotations)
	for i := range template.Spec.Volumes {
		if csi := template.Spec.Volumes[i].CSI; csi != nil && csi.Driver == v1alpha1.DriverName {
			names = append(names, csi.VolumeAttributes[v1alpha1.AttributeConnection])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// currentAndReady tells whether the Connection's status speaks of its present spec and of secrets that were read.
func currentAndReady(connection *v1alpha1.Connection) bool {
	return connection.Status.ObservedGeneration == connection.Generation &&
		meta.IsStatusConditionTrue(connection.Status.Conditions, v1alpha1.ConditionReady)
}

// digestForm stands before each digest and changes with what goes into one.
const digestForm = "2."

// digest changes with what the Connection says and with the versions of its secrets. The time is that of the version in
// Vault: a secret that was deleted with all its versions begins at 1 again, and a static role has nothing else.
func digest(connection *v1alpha1.Connection) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s/%s\n", connection.UID, abridged.ContentDigest(connection))
	for _, secret := range connection.Status.Secrets {
		fmt.Fprintf(sum, "%s %s %d", secret.VaultConfig, secret.Path, secret.Version)
		if secret.CreatedTime != nil {
			fmt.Fprintf(sum, " %d", secret.CreatedTime.Unix())
		}
		fmt.Fprintln(sum)
	}
	const length = 12 // 72 bits: enough to see that something changed
	return digestForm + base64.RawURLEncoding.EncodeToString(sum.Sum(nil))[:length]
}

func unversioned(connection *v1alpha1.Connection) []string {
	var paths []string
	for _, secret := range connection.Status.Secrets {
		if secret.Version == 0 && secret.CreatedTime == nil {
			paths = append(paths, secret.Path)
		}
	}
	return paths
}
