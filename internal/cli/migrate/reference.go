package migrate

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bare is what stands in a reference without quotes.
var bare = regexp.MustCompile(`^[A-Za-z0-9_/-]+$`)

// reference is vault.secret(name.key), or the way into a key's value; without a name, the key of whichever secret has
// it.
func reference(secret string, path ...string) string {
	parts := make([]string, 0, 1+len(path))
	if secret != "" {
		parts = append(parts, secret)
	}
	for _, part := range path {
		parts = append(parts, quoted(part))
	}
	return "vault.secret(" + strings.Join(parts, ".") + ")"
}

// wholeSecret is a reference to all keys of a secret, as JSON.
func wholeSecret(secret string) string { return "vault.secret(" + secret + ".*)" }

func quoted(key string) string {
	if bare.MatchString(key) {
		return key
	}
	text, err := json.Marshal(key)
	if err != nil {
		return key
	}
	return string(text)
}

// literal is a text that the parser of references does not look into.
func literal(text string) string {
	if !strings.Contains(text, "vault.") {
		return text
	}
	encoded, err := json.Marshal(text)
	if err != nil {
		return text
	}
	return "vault.text(" + string(encoded) + ")"
}

// words of Vault's API that stand directly behind an engine's mount path.
var words = []string{
	"data", "metadata", "creds", "static-creds", "static-cred", "issue", "issuer", "sign", "sign-verbatim", "sts",
	"roleset", "token", "cert", "code", "keys", "datakey", "export", "random", "hmac",
}

// split parts a path as Vault's API has it into the engine's mount path and the rest. Which parts belong to the mount
// path only Vault knows: a word of its API tells, or else the first part is taken; sure is whether that leaves no
// doubt.
func split(path string) (engine, rest string, sure bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i := 1; i < len(parts)-1; i++ {
		if slices.Contains(words, parts[i]) {
			return strings.Join(parts[:i], "/"), strings.Join(parts[i:], "/"), true
		}
	}
	if len(parts) < 2 {
		return "", parts[0], false
	}
	return parts[0], strings.Join(parts[1:], "/"), len(parts) == 2
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// alias makes a name for a secret of a Connection from the end of its path.
func alias(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	name := strings.Trim(notInNames.ReplaceAllString(parts[len(parts)-1], "-"), "-_")
	if len(name) > 50 {
		name = strings.Trim(name[:50], "-_")
	}
	if name == "" {
		return "secret"
	}
	return name
}

// simple names can stand behind the dot of a template.
var simple = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

var notInObjects = regexp.MustCompile(`[^a-z0-9.-]+`)

// objectName makes the name of an object.
func objectName(parts ...string) string {
	name := notInObjects.ReplaceAllString(strings.ToLower(strings.Join(parts, "-")), "-")
	if len(name) > 240 {
		name = name[:240]
	}
	return strings.Trim(name, "-.")
}

// free returns the name, or the first of name-2, name-3, … that is not taken.
func free(name string, taken func(string) bool) string {
	base := name
	for i := 2; taken(name); i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return name
}

// shortest is the least refreshInterval that a Connection may have.
const shortest = 5 * time.Second

// intervalOf turns a duration of theirs into a refreshInterval.
func intervalOf(f *fields, name string) *metav1.Duration {
	text := f.text(name)
	if text == "" {
		return nil
	}
	every, err := time.ParseDuration(text)
	switch {
	case err != nil || every < 0:
		f.note(NoEqual, name, "%q is no duration, so that Sallyport's default of 60s is used; write it as 90s, 5m or 1h", text)
		return nil
	case every == 0:
		f.note(Differs, name, "Sallyport always compares with Vault, every 60s if nothing else is said")
		return nil
	case every < shortest:
		f.note(Differs, name, "Sallyport compares with Vault every 5s at most")
		every = shortest
	}
	return &metav1.Duration{Duration: every}
}
