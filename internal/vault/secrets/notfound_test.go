package secrets

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	. "github.com/onsi/gomega"

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
