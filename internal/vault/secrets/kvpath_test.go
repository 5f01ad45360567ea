package secrets

import (
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/transport"
)

func TestKVPath(t *testing.T) {
	tests := []struct {
		name, path        string
		version           v1alpha1.KVVersion
		apiPath, metadata string
	}{
		{
			"version 2, as the command line has it", "oracle", v1alpha1.KVVersion2, "secret/data/oracle",
			"secret/metadata/oracle",
		},
		{"version 2, as the API has it", "data/oracle", v1alpha1.KVVersion2, "secret/data/oracle", "secret/metadata/oracle"},
		{
			"version 2, a folder of that name", "data/data/oracle", v1alpha1.KVVersion2, "secret/data/data/oracle",
			"secret/metadata/data/oracle",
		},
		{"version 2, a secret of that name", "data", v1alpha1.KVVersion2, "secret/data/data", "secret/metadata/data"},
		{
			"version 2, a name that begins so", "database", v1alpha1.KVVersion2, "secret/data/database",
			"secret/metadata/database",
		},
		{"version 1", "oracle", v1alpha1.KVVersion1, "secret/oracle", "secret/metadata/oracle"},
		{
			"version 1, a folder of that name", "data/oracle", v1alpha1.KVVersion1, "secret/data/oracle",
			"secret/metadata/data/oracle",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			p := newKVPath("secret", test.path, test.version)
			g.Expect(p.apiPath()).To(Equal(test.apiPath))
			g.Expect(p.metadataPath()).To(Equal(test.metadata))
		})
	}
}

func TestKVVersion(t *testing.T) {
	mount := func(path, kind string, options any) map[string]any {
		return map[string]any{"path": path, "type": kind, "options": options}
	}
	tests := []struct {
		name     string
		data     map[string]any
		version  v1alpha1.KVVersion
		sentence string
	}{
		{name: "version 2", data: mount("team/kv/", "kv", map[string]any{"version": "2"}), version: v1alpha1.KVVersion2},
		{name: "version 1", data: mount("team/kv/", "kv", map[string]any{"version": "1"}), version: v1alpha1.KVVersion1},
		{name: "without options", data: mount("team/kv/", "kv", nil), version: v1alpha1.KVVersion1},
		{name: "as old Vaults call it", data: mount("team/kv/", "generic", nil), version: v1alpha1.KVVersion1},
		{name: "another engine", data: mount("team/kv/", "pki", nil), version: notKV},
		{name: "an engine of Vault's own", data: mount("team/kv/", "cubbyhole", nil), sentence: `the secrets engine at team/kv is of type "cubbyhole", not kv (us); set enginePath to a KV engine`},
		{name: "no engine of a type", data: mount("team/kv/", "", nil), sentence: `the secrets engine at team/kv is of type "", not kv (us); set enginePath to a KV engine`},
		{name: "an engine above", data: mount("team/", "kv", nil), sentence: "no secrets engine is mounted at team/kv, the nearest is \"team\" (us); set enginePath to that"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			version, err := kvVersion(transport.Request{Actor: "us"}, "team/kv", test.data)
			g.Expect(version).To(Equal(test.version))
			if test.sentence == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(test.sentence))
			}
		})
	}
}
