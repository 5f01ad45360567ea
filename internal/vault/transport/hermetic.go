package transport

import (
	"io"
	"net/http"
	"os"
	"strings"

	vaultapi "github.com/hashicorp/vault/api"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// newAPI returns Vault's client library for one origin, without what it would do of its own accord: it takes nothing
// from the environment, does not retry (the caller's work queue owns back-off, and an effect must not be sent twice)
// and follows no redirect (a token would go with it).
func newAPI(origin string, client *http.Client) (*vaultapi.Client, error) {
	clearEnvironment()
	api, err := vaultapi.NewClient(&vaultapi.Config{
		Address:          origin,
		HttpClient:       client,
		MaxRetries:       0,
		DisableRedirects: true,
	})
	if err != nil {
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.url: no client can be made for it").
			WithRemedy(writeVaultOrigin)
	}
	api.AddHeader("User-Agent", "sallyport")
	return api, nil
}

// clearEnvironment removes every VAULT_* variable from the process. The library reads some twenty of them (address,
// token, namespace, proxy, TLS, headers), a few at every request, even when it is handed a complete configuration, and
// fails on a malformed one. What Sallyport does must follow from the VaultConfig alone.
func clearEnvironment() {
	for _, variable := range os.Environ() { //nolint:forbidigo // the names only, to remove what the library would read
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "VAULT_") {
			_ = os.Unsetenv(name) // fails only for names that cannot be in the environment
		}
	}
}

const (
	// maxResponse bounds what is read of one response, in bytes: a few times what Vault's storages accept as one secret.
	maxResponse = 4 << 20
	// maxFailure is the same for a response that is no success, which the library reads whole and decodes, whatever else
	// is being read. The longest that Vault sends is the metadata of a deleted version, with 40 KiB of its owner's.
	maxFailure = 128 << 10
)

// boundedTransport ends a response one byte behind its bound, whoever reads it.
type boundedTransport struct{ http.Transport }

// RoundTrip implements http.RoundTripper.
func (b *boundedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.Transport.RoundTrip(request)
	if response != nil {
		bound := int64(maxResponse)
		if response.StatusCode >= http.StatusBadRequest {
			bound = maxFailure
		}
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, bound+1), response.Body}
	}
	return response, err
}
