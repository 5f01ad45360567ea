package tenancy

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// placeholder stands in a path prefix for the requesting namespace.
const placeholder = "{{namespace}}"

// parts are what KV version 2 puts between engine and path, one for each thing that can be done with a secret.
var parts = []string{"data", "metadata", "delete", "undelete", "destroy", "subkeys"}

// words of Vault's API, which a namespace may be called as well: what KV version 2 has at its top, Vault's own engines,
// and what other engines have in front of the names of roles and keys. transit/{{namespace}} would give a namespace
// called keys every key of the engine.
var words = slices.Concat(parts, []string{
	"config", "sys", "auth", "identity", "cubbyhole", // of KV, and Vault's own
	"creds", "static-creds", "role", "roles", "static-role", "static-roles", "rotate", "rotate-root", "rotate-role",
	"reset", "library", "sts", "connection", "lease", "schema", "key", "keys", "code", "lookup", "verify",
	"public-key", // credentials
	"root", "intermediate", "issue", "issuer", "issuers", "ca", "ca-chain", "cert", "certs", "crl", "sign",
	"sign-verbatim", "revoke", "tidy", "acme", // certificates and SSH
	"encrypt", "decrypt", "rewrap", "datakey", "random", "hash", "hmac", "export", "backup", "restore", "wrapping-key",
	"encode", "decode", "transformation", "transformations", "template", "templates", // transit, transform
})

// Use is what a namespace wants to do with a VaultConfig of another one.
type Use struct {
	// Namespace of the Connection or VaultTask.
	Namespace string
	// Path that is to be reached, as Vault's API has it, engine included: secret/data/oracle. Not escaped.
	Path string
	// KV2Engine is the mount path of the engine if it is KV version 2, on Vault's own word; empty for all other
	// engines. It must not be what the caller says of the engine: prefixes are compared with what stands behind it.
	KV2Engine string
	// Operation of a VaultTask; empty for a read by a Connection.
	Operation v1alpha1.VaultTaskOperation
}

// Selects tells whether the decision may depend on the labels of the requesting namespace.
func Selects(config *v1alpha1.VaultConfig) bool {
	return slices.ContainsFunc(config.Spec.AllowedNamespaces, func(grant v1alpha1.NamespaceGrant) bool {
		return grant.Selector != nil
	})
}

// Admits tells whether a namespace may use the VaultConfig for anything at all.
func Admits(config *v1alpha1.VaultConfig, namespace string, labels map[string]string) bool {
	return namespace == config.Namespace || len(admittingGrants(config, namespace, labels)) > 0
}

// NotAdmitted is the fault for a namespace that is not admitted. It is the same whether the VaultConfig exists or not.
func NotAdmitted(config types.NamespacedName, namespace string) error {
	return fault.Waiting(v1alpha1.ReasonNamespaceNotAllowed,
		"VaultConfig %s does not exist, or may not be used from namespace %s", config, namespace).
		WithRemedy("correct vaultConfigRef, or have the VaultConfig's owner let %s use it in spec.allowedNamespaces",
			namespace)
}

// Permit returns nil if a namespace with these labels may use the VaultConfig so, and else a fault NamespaceNotAllowed
// that says what is missing and how it can be had. The VaultConfig's own namespace may do everything.
func Permit(config *v1alpha1.VaultConfig, labels map[string]string, use Use) error {
	if use.Namespace == config.Namespace {
		return nil
	}
	name := types.NamespacedName{Namespace: config.Namespace, Name: config.Name}
	admitting := admittingGrants(config, use.Namespace, labels)
	if len(admitting) == 0 {
		return NotAdmitted(name, use.Namespace)
	}
	if problem := ambiguity(use.Path); problem != "" {
		return fault.Waiting(v1alpha1.ReasonNamespaceNotAllowed,
			"VaultConfig %s may not be used from namespace %s for %q: the path %s", name, use.Namespace, use.Path, problem).
			WithRemedy("paths of another namespace's VaultConfig must be plain")
	}
	var prefixes, operations, wordy []string
	for _, grant := range admitting {
		covered := false
		for _, prefix := range grant.PathPrefixes {
			covered = covered || use.coveredBy(prefix)
			if use.KV2Engine == "" && becomesWord(prefix, use.Namespace) {
				wordy = append(wordy, string(prefix))
				continue
			}
			prefixes = append(prefixes, expand(prefix, use.Namespace))
		}
		if !covered {
			continue
		}
		if use.Operation == "" || slices.Contains(grant.TaskOperations, use.Operation) {
			return nil
		}
		for _, operation := range grant.TaskOperations {
			operations = append(operations, string(operation))
		}
		if len(grant.TaskOperations) == 0 {
			operations = append(operations, "no VaultTask")
		}
	}
	if len(operations) > 0 {
		return fault.Waiting(v1alpha1.ReasonNamespaceNotAllowed,
			"VaultConfig %s may not be used from namespace %s for operation %s on %s: it allows %s there",
			name, use.Namespace, use.Operation, use.Path, list(operations)).
			WithRemedy("have its owner add the operation to taskOperations in spec.allowedNamespaces")
	}
	if len(wordy) > 0 && len(prefixes) == 0 {
		return fault.Waiting(v1alpha1.ReasonNamespaceNotAllowed,
			"VaultConfig %s may not be used from namespace %s for %s: in %s that name would be a word of Vault's API",
			name, use.Namespace, use.Path, list(wordy)).
			WithRemedy("have its owner add a prefix without {{namespace}} to pathPrefixes in spec.allowedNamespaces")
	}
	return fault.Waiting(v1alpha1.ReasonNamespaceNotAllowed,
		"VaultConfig %s may not be used from namespace %s for %s: it allows what lies below %s",
		name, use.Namespace, use.Path, list(prefixes)).
		WithRemedy("use such a path, or have its owner add one to pathPrefixes in spec.allowedNamespaces")
}

// admittingGrants are the entries that admit a namespace. An entry that names nobody, or whose selector cannot be read,
// admits nobody.
func admittingGrants(config *v1alpha1.VaultConfig, namespace string, of map[string]string) []v1alpha1.NamespaceGrant {
	var admitting []v1alpha1.NamespaceGrant
	for _, grant := range config.Spec.AllowedNamespaces {
		if slices.Contains(grant.Names, v1alpha1.NamespaceName(namespace)) || selected(grant.Selector, of) {
			admitting = append(admitting, grant)
		}
	}
	return admitting
}

func selected(by *v1alpha1.NamespaceSelector, of map[string]string) bool {
	if by == nil || of == nil {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{
		MatchLabels: by.MatchLabels, MatchExpressions: by.MatchExpressions,
	})
	return err == nil && selector.Matches(labels.Set(of))
}

func expand(prefix v1alpha1.PathPrefix, namespace string) string {
	return strings.Trim(strings.ReplaceAll(string(prefix), placeholder, namespace), "/")
}

// coveredBy compares whole parts. A prefix that leads into a KV version 2 engine is read as Vault's command line writes
// paths, without data/ and the like, unless its author named such a part. A namespace that is called data does not name
// one: secret/{{namespace}} would give it every secret of the engine.
func (u Use) coveredBy(of v1alpha1.PathPrefix) bool {
	prefix := expand(of, u.Namespace)
	if prefix == "" || ambiguity(prefix) != "" {
		return false
	}
	if u.KV2Engine == "" {
		// What engine this is may not be known, as for a generic operation of a VaultTask.
		return within(u.Path, prefix) && !becomesWord(of, u.Namespace)
	}
	inside, into := strings.CutPrefix(prefix, u.KV2Engine+"/")
	// A namespace's name holds no slash, so that a part of the prefix stands at the same place before and after it was
	// put in.
	if !into || slices.Contains(parts, authored(of)[strings.Count(u.KV2Engine, "/")+1]) {
		return within(u.Path, prefix)
	}
	rest, below := strings.CutPrefix(u.Path, u.KV2Engine+"/")
	part, secret, deeper := strings.Cut(rest, "/")
	return below && deeper && slices.Contains(parts, part) && within(secret, inside)
}

func authored(prefix v1alpha1.PathPrefix) []string {
	return strings.Split(strings.Trim(string(prefix), "/"), "/")
}

// becomesWord tells whether the namespace's name makes a part of the prefix a word of Vault's API. Some engines know a
// word with an underscore or a dash, so that both are the same here; a namespace's name has no underscore, but what its
// author wrote around it may.
func becomesWord(prefix v1alpha1.PathPrefix, namespace string) bool {
	return slices.ContainsFunc(authored(prefix), func(part string) bool {
		word := strings.ReplaceAll(strings.ReplaceAll(part, placeholder, namespace), "_", "-")
		return strings.Contains(part, placeholder) && slices.Contains(words, word)
	})
}

func within(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }

// ambiguity says why a path could mean another one to Vault, or to something on the way to it, than it seems to here.
func ambiguity(path string) string {
	if !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "holds a character that cannot be printed"
	}
	if strings.ContainsAny(path, `%\`) {
		return `holds % or \`
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return "holds an empty part or dots"
		}
	}
	return ""
}

func list(names []string) string {
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}
