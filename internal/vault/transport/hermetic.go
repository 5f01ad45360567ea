package transport

import (
	"net/http"
	"os"
	"strings"

	vaultapi "github.com/hashicorp/vault/api"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// newAPI returns Vault's client library for one address, without what it would do of its own accord: it takes nothing
// from the environment, does not retry (the caller's work queue owns back-off, and an effect must not be sent twice)
// and follows no redirect (a token would go with it).
func newAPI(address string, client *http.Client) (*vaultapi.Client, error) {
	clearEnvironment()
	api, err := vaultapi.NewClient(&vaultapi.Config{
		Address:          address,
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
