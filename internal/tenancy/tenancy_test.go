package tenancy

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/test/builder"
)

func config(grants ...v1alpha1.NamespaceGrant) *v1alpha1.VaultConfig {
	return builder.VaultConfig("platform", "shared", func(c *v1alpha1.VaultConfig) { c.Spec.AllowedNamespaces = grants })
}

func named(prefixes ...v1alpha1.PathPrefix) v1alpha1.NamespaceGrant {
	return v1alpha1.NamespaceGrant{Names: []v1alpha1.NamespaceName{"shop"}, PathPrefixes: prefixes}
}

func selecting(selector v1alpha1.NamespaceSelector) v1alpha1.NamespaceGrant {
	return v1alpha1.NamespaceGrant{Selector: &selector, PathPrefixes: []v1alpha1.PathPrefix{"secret"}}
}

func TestPermit_WhichNamespaces(t *testing.T) {
	tests := []struct {
		name   string
		config *v1alpha1.VaultConfig
		labels map[string]string
		from   string
		ok     bool
	}{
		{name: "nobody by default", config: config(), from: "shop"},
		{name: "its own namespace always", config: config(), from: "platform", ok: true},
		{name: "one that is named", config: config(named("secret")), from: "shop", ok: true},
		{name: "not one whose name begins so", config: config(named("secret")), from: "shop-test"},
		{
			name: "one whose labels are selected", from: "shop", ok: true, labels: map[string]string{"team": "shop"},
			config: config(selecting(v1alpha1.NamespaceSelector{MatchLabels: map[string]string{"team": "shop"}})),
		},
		{
			name: "not one with other labels", from: "shop", labels: map[string]string{"team": "other"},
			config: config(selecting(v1alpha1.NamespaceSelector{MatchLabels: map[string]string{"team": "shop"}})),
		},
		{name: "every one by an empty selector", from: "shop", ok: true, labels: map[string]string{}, config: config(selecting(v1alpha1.NamespaceSelector{}))},
		{name: "not one whose labels are not known", from: "shop", config: config(selecting(v1alpha1.NamespaceSelector{}))},
		{
			name: "nobody by a selector that cannot be read", from: "shop", labels: map[string]string{"team": "shop"},
			config: config(selecting(v1alpha1.NamespaceSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Like"}}})),
		},
		{name: "nobody by an entry without names and selector", from: "", config: config(v1alpha1.NamespaceGrant{PathPrefixes: []v1alpha1.PathPrefix{"secret"}})},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			err := Permit(test.config, test.labels, Use{Namespace: test.from, Path: "secret/data/db", KV2Engine: "secret"})
			g.Expect(err == nil).To(Equal(test.ok), "%v", err)
			g.Expect(Admits(test.config, test.from, test.labels)).To(Equal(test.ok))
			if !test.ok {
				g.Expect(err).To(Equal(NotAdmitted(types.NamespacedName{Namespace: "platform", Name: "shared"}, test.from)),
					"the answer must not tell whether the VaultConfig exists")
			}
		})
	}
}

func TestPermit_WhichPaths(t *testing.T) {
	const kv2, kv1 = "secret", ""
	tests := []struct {
		name, path, engine string
		prefix             v1alpha1.PathPrefix
		ok                 bool
	}{
		{"a whole engine", "secret/data/db", kv2, "secret", true},
		{"a slash behind the prefix does not matter", "secret/data/team-shop/db", kv2, "secret/team-{{namespace}}/", true},
		{"not another engine that begins so", "secret2/data/db", "secret2", "secret", false},
		{"KV 2, data", "secret/data/team-shop/db", kv2, "secret/team-{{namespace}}", true},
		{"KV 2, the prefix itself", "secret/data/team-shop", kv2, "secret/team-{{namespace}}", true},
		{"KV 2, metadata", "secret/metadata/team-shop/db", kv2, "secret/team-{{namespace}}", true},
		{"KV 2, destroy", "secret/destroy/team-shop/db", kv2, "secret/team-{{namespace}}", true},
		{"not another namespace's", "secret/data/team-other/db", kv2, "secret/team-{{namespace}}", false},
		{"not a longer name", "secret/data/team-shopping/db", kv2, "secret/team-{{namespace}}", false},
		{"not a shorter path", "secret/data", kv2, "secret/team-shop", false},
		{"not the list of all secrets", "secret/metadata", kv2, "secret/team-shop", false},
		{"a prefix in the API's spelling", "secret/data/team-shop/db", kv2, "secret/data/team-{{namespace}}", true},
		{"which is for that part alone", "secret/metadata/team-shop/db", kv2, "secret/data/team-{{namespace}}", false},
		{"and not for a secret whose own name begins so", "secret/data/data/team-shop/db", kv2, "secret/data/team-shop", false},
		{"not the engine's configuration", "secret/config", kv2, "secret/config", false},
		{"which secrets may be named after", "secret/data/config/db", kv2, "secret/config", true},
		{"not what KV 2 does not have", "secret/other/team-shop/db", kv2, "secret/team-shop", false},
		{"an engine with a longer path", "team/kv/data/team-shop/db", "team/kv", "team/kv/team-{{namespace}}", true},
		{"an engine below the prefix", "team/kv/data/db", "team/kv", "team", true},
		{"KV 1", "kv/team-shop/db", kv1, "kv/team-{{namespace}}", true},
		{"KV 1 has no data part to leave out", "kv/data/team-shop/db", kv1, "kv/team-{{namespace}}", false},
		{"any other engine", "transit/encrypt/shop", kv1, "transit/encrypt/{{namespace}}", true},
		{"not another operation of it", "transit/decrypt/shop", kv1, "transit/encrypt/{{namespace}}", false},
		{"case matters", "secret/data/Team-shop/db", kv2, "secret/team-shop", false},
		{"up", "secret/data/team-shop/../team-other/db", kv2, "secret/team-shop", false},
		{"up in the part of KV 2", "secret/../team-shop/db", kv2, "secret/team-shop", false},
		{"here", "secret/data/team-shop/./db", kv2, "secret/team-shop", false},
		{"an empty part", "secret/data/team-shop//db", kv2, "secret/team-shop", false},
		{"a slash in front", "/secret/data/team-shop/db", kv2, "secret/team-shop", false},
		{"escapes", "secret/data/team-shop/%2e%2e/team-other", kv2, "secret/team-shop", false},
		{"backslashes", `secret/data/team-shop/..\team-other`, kv2, "secret/team-shop", false},
		{"a line break", "secret/data/team-shop/\n", kv2, "secret/team-shop", false},
		{"a prefix that is only a slash", "secret/data/db", kv2, "/", false},
		{"a prefix with dots", "secret/data/db", kv2, "secret/../secret", false},
		{"a wildcard is only a character", "secret/data/db", kv2, "secret/*", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			err := Permit(config(named(test.prefix)), nil, Use{Namespace: "shop", Path: test.path, KV2Engine: test.engine})
			g.Expect(err == nil).To(Equal(test.ok), "%v", err)
			if !test.ok {
				g.Expect(fault.Is(err, v1alpha1.ReasonNamespaceNotAllowed)).To(BeTrue())
			}
		})
	}
}

func TestPermit_ANamespaceThatIsCalledDataGetsNoMoreThanOthers(t *testing.T) {
	for _, test := range []struct {
		name, path, engine string
		prefix             v1alpha1.PathPrefix
		ok                 bool
	}{
		{"its own secrets", "secret/data/data/db", "secret", "secret/{{namespace}}", true},
		{"their metadata", "secret/metadata/data/db", "secret", "secret/{{namespace}}", true},
		{"not another's", "secret/data/shop/db", "secret", "secret/{{namespace}}", false},
		{"not another's in an engine that is named after it", "data/data/shop/db", "data", "{{namespace}}/{{namespace}}", false},
		{"an engine that is named after it", "data/data/shop/db", "data", "{{namespace}}", true},
		{"what its author spelled as the API does", "secret/data/data/db", "secret", "secret/data/{{namespace}}", true},
		{"not where the engine may not be known", "secret/data/shop/db", "", "secret/{{namespace}}", false},
		{"other engines below what is no such part", "transit/encrypt/team-data", "", "transit/encrypt/team-{{namespace}}", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			grant := v1alpha1.NamespaceGrant{Names: []v1alpha1.NamespaceName{"data"}, PathPrefixes: []v1alpha1.PathPrefix{test.prefix}}
			err := Permit(config(grant), nil, Use{Namespace: "data", Path: test.path, KV2Engine: test.engine})
			NewWithT(t).Expect(err == nil).To(Equal(test.ok), "%v", err)
		})
	}
}

func TestPermit_ANamespaceThatIsCalledLikeAWordOfVaultsAPIGetsNoMoreThanOthers(t *testing.T) {
	for _, test := range []struct {
		namespace, path string
		prefix          v1alpha1.PathPrefix
	}{
		{"config", "secret/config", "secret/{{namespace}}"},
		{"data", "secret/data/shop/db", "secret/{{namespace}}"},
		{"metadata", "secret/metadata/shop/db", "secret/{{namespace}}"},
		{"delete", "secret/delete/shop/db", "secret/{{namespace}}"},
		{"undelete", "secret/undelete/shop/db", "secret/{{namespace}}"},
		{"destroy", "secret/destroy/shop/db", "secret/{{namespace}}"},
		{"subkeys", "secret/subkeys/shop/db", "secret/{{namespace}}"},
		{"sys", "sys/policies/acl/admin", "{{namespace}}"},
		{"auth", "auth/approle/role/shop/secret-id", "{{namespace}}/approle"},
		{"identity", "identity/entity", "{{namespace}}"},
		{"cubbyhole", "cubbyhole/a", "{{namespace}}"},
		{"keys", "transit/keys/shop", "transit/{{namespace}}"},
		{"export", "transit/export/encryption-key/shop", "transit/{{namespace}}"},
		{"creds", "database/creds/shop", "database/{{namespace}}"},
		{"config", "database/config/postgres", "database/{{namespace}}"},
		{"issue", "pki/issue/shop", "pki/{{namespace}}"},
		{"creds", "database/static-creds/shop", "database/static-{{namespace}}"},
		{"key", "ssh/public_key", "ssh/public_{{namespace}}"},
	} {
		t.Run(test.path, func(t *testing.T) {
			g := NewWithT(t)
			grant := v1alpha1.NamespaceGrant{
				Names:        []v1alpha1.NamespaceName{v1alpha1.NamespaceName(test.namespace)},
				PathPrefixes: []v1alpha1.PathPrefix{test.prefix},
			}
			use := Use{Namespace: test.namespace, Path: test.path}
			g.Expect(Permit(config(grant), nil, use)).To(MatchError(ContainSubstring("would be a word of Vault's API; " +
				"have its owner add a prefix without {{namespace}}")))
			grant.PathPrefixes = []v1alpha1.PathPrefix{v1alpha1.PathPrefix(test.path)}
			g.Expect(Permit(config(grant), nil, use)).To(Succeed(), "what its author wrote himself counts")
		})
	}
}

func TestPermit_WhichOperations(t *testing.T) {
	own := named("secret/team-{{namespace}}")
	own.TaskOperations = []v1alpha1.VaultTaskOperation{v1alpha1.OperationRead, v1alpha1.OperationWrite}
	read := named("secret/common")
	read.TaskOperations = []v1alpha1.VaultTaskOperation{v1alpha1.OperationRead}
	shared := config(own, read, named("secret/connections"))
	tests := []struct {
		name, path string
		operation  v1alpha1.VaultTaskOperation
		sentence   string
	}{
		{name: "one that is listed", path: "secret/data/team-shop/db", operation: v1alpha1.OperationWrite},
		{name: "a Connection needs none", path: "secret/data/connections/db"},
		{
			name: "not one that is listed for another path", path: "secret/data/common/db", operation: v1alpha1.OperationWrite,
			sentence: "VaultConfig platform/shared may not be used from namespace shop for operation Write on secret/data/common/db: it allows Read there; " +
				"have its owner add the operation to taskOperations in spec.allowedNamespaces",
		},
		{
			name: "none where none is listed", path: "secret/data/connections/db", operation: v1alpha1.OperationRead,
			sentence: "VaultConfig platform/shared may not be used from namespace shop for operation Read on secret/data/connections/db: it allows no VaultTask there; " +
				"have its owner add the operation to taskOperations in spec.allowedNamespaces",
		},
		{
			name: "not where no prefix leads", path: "secret/data/other/db", operation: v1alpha1.OperationRead,
			sentence: "VaultConfig platform/shared may not be used from namespace shop for secret/data/other/db: it allows what lies below " +
				"secret/common, secret/connections, secret/team-shop; use such a path, or have its owner add one to pathPrefixes in spec.allowedNamespaces",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			err := Permit(shared, nil, Use{Namespace: "shop", Path: test.path, KV2Engine: "secret", Operation: test.operation})
			if test.sentence == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(test.sentence))
			}
		})
	}
}

func TestSelects(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Selects(config())).To(BeFalse())
	g.Expect(Selects(config(named("secret")))).To(BeFalse())
	g.Expect(Selects(config(named("secret"), selecting(v1alpha1.NamespaceSelector{})))).To(BeTrue())
}
