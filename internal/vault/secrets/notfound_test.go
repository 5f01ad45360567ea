package secrets

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// FuzzNotFound: whatever Vault says with a 404, it becomes a fault.
func FuzzNotFound(f *testing.F) {
	for _, body := range []string{
		`{"errors":[]}`, `{"errors":["no"]}`, `{"request_id":"1","data":{"a":1e999}}`, `{"request_id":"1","warnings":["x"]}`,
		`{"request_id":"1","data":{"data":null,"metadata":{"version":1,"deletion_time":"x","destroyed":1}}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		var response transport.Response
		if decoder.Decode(&response) != nil {
			return
		}
		r := transport.Request{Method: http.MethodGet, Path: "secret/data/x"}
		NewWithT(t).Expect(notFound(r, &response, newKVPath("secret", "x", "V2"), 0)).To(HaveOccurred())
	})
}

// TestA404SaysWhatThePathShouldBe: what Vault does not find is most often there, under a path that was written as another
// tool wants it.
func TestA404SaysWhatThePathShouldBe(t *testing.T) {
	const plain, no = "write it to Vault, or correct secretPath", ", for enginePath, v1/ and data/ are no part of it; or write the secret to Vault"
	for path, test := range map[kvPath]string{
		newKVPath("secret", "shop/db", v1alpha1.KVVersion2):                plain,
		newKVPath("secret", "data/shop/db", v1alpha1.KVVersion2):           plain, // which is the same
		newKVPath("secret", "data/data/shop/db", v1alpha1.KVVersion2):      "set secretPath to shop/db" + no,
		newKVPath("secret", "metadata/shop/db", v1alpha1.KVVersion2):       "set secretPath to shop/db" + no,
		newKVPath("kv/team", "kv/team/data/db", v1alpha1.KVVersion2):       "set secretPath to db" + no,
		newKVPath("secret", "secret/shop/db", v1alpha1.KVVersion2):         "set secretPath to shop/db" + no,
		newKVPath("secret", "v1/secret/data/shop/db", v1alpha1.KVVersion2): "set secretPath to shop/db" + no,
		newKVPath("secret", "shop/data/db", v1alpha1.KVVersion2):           plain,
		newKVPath("secret", "v1/db", v1alpha1.KVVersion2):                  plain,
		newKVPath("secret", "secret", v1alpha1.KVVersion2):                 plain,
		newKVPath("secret", "data/shop/db", v1alpha1.KVVersion1):           "set secretPath to shop/db, for an engine of KV version 1 has no data/ in its paths; or write the secret to Vault",
		newKVPath("secret", "secret/shop/db", v1alpha1.KVVersion1):         "set secretPath to shop/db" + no,
		newKVPath("database", "database/creds/app", notKV):                 plain,
	} {
		t.Run(path.apiPath(), func(t *testing.T) {
			g := NewWithT(t)
			r := transport.Request{Method: http.MethodGet, Path: path.apiPath(), Actor: "a"}
			f := fault.From(notFound(r, &transport.Response{Status: 404}, path, 0))
			g.Expect(f.Message()).To(Equal("GET " + path.apiPath() + " → 404 no secret at this path (a); " + test))
			g.Expect(f.Absent).To(BeTrue())
		})
	}
}

func TestAGenericPathThatVaultDoesNotKnowSaysWhatItShouldBe(t *testing.T) {
	warned := transport.Response{Status: 404, Secret: vaultapi.Secret{Warnings: []string{"Invalid path for a versioned K/V secrets engine"}}}
	found := func(status int) transport.Response { return transport.Response{Status: status} }
	for name, test := range map[string]struct {
		path, reason string
		response     transport.Response
		remedy       string
	}{
		"nothing there":            {"transit/keys/x", v1alpha1.ReasonSecretNotFound, found(404), "correct path, or write there first"},
		"no engine":                {"nope/x", v1alpha1.ReasonSecretNotFound, transport.Response{Status: 404, Errors: []string{"no handler"}}, "no engine of Vault answers there: correct path, which begins with where an engine is mounted"},
		"data/ where it is none":   {"kv/data/x", v1alpha1.ReasonSecretNotFound, found(404), "correct path, or write there first; only KV version 2 has data/ in its paths: without it kv/x"},
		"no data/ where it is one": {"kv/x", v1alpha1.ReasonSecretNotFound, warned, "an engine of KV version 2 has its secrets below data/, and lists them below metadata/: put that behind the engine's path, or use operation Read or List with enginePath and secretPath"},
		"the API's version":        {"v1/transit/keys/x", v1alpha1.ReasonSecretNotFound, found(404), "write path without v1/, which Sallyport puts before every path: transit/keys/x"},
		"the API's version, which the policy does not know": {"v1/transit/keys/x", v1alpha1.ReasonPermissionDenied, found(403), "write path without v1/, which Sallyport puts before every path: transit/keys/x"},
		"anything else":                   {"transit/keys/x", v1alpha1.ReasonPermissionDenied, found(403), "its policy needs more"},
		"the API's version, and an error": {"v1/transit/keys/x", v1alpha1.ReasonVaultError, found(500), "its policy needs more"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			failed := &fault.Fault{Reason: test.reason, Problem: "no", Remedy: "its policy needs more", OutcomeUnknown: true}
			f := fault.From(explainGeneric(transport.Request{Path: test.path}, &test.response, failed))
			g.Expect(f.Remedy).To(Equal(test.remedy))
			g.Expect([]any{f.Reason, f.Problem, f.OutcomeUnknown}).To(Equal([]any{test.reason, "no", true}))
		})
	}
	g := NewWithT(t)
	denied := fault.Waiting(v1alpha1.ReasonPermissionDenied, "no").WithRemedy("its policy needs more")
	g.Expect(fault.From(explainVersion("enginePath", "/v1/secret/", denied)).Remedy).To(Equal("write enginePath without v1/, which Sallyport puts before every path: secret"))
	g.Expect(explainVersion("enginePath", "v1", denied)).To(BeIdenticalTo(denied), "an engine may be called that")
	g.Expect(explainVersion("enginePath", "secret", denied)).To(BeIdenticalTo(denied))
}
