package ownvault

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// EngineVersion asks which KV version is at an engine's path, in the namespace that a VaultConfig names or below it:
// "none" for another engine, nothing if Vault does not tell the user.
func (v *Vault) EngineVersion(
	ctx context.Context, config *v1alpha1.VaultConfig, engine secrets.Location,
) (v1alpha1.KVVersion, error) {
	own, err := v.Session(ctx, config.Spec.VaultNamespace)
	if err != nil {
		return "", err
	}
	engine.SecretPath = "x"
	version, err := secrets.KVVersion(ctx, own, engine)
	if fault.Is(err, v1alpha1.ReasonInvalidRequest) { // there is no such engine, or it is Vault's own
		return "", nil
	}
	return version, Explain(err)
}

// Capabilities are what the token may do at each path, which begins in a namespace of Vault. Source: POST
// sys/capabilities-self.
func (v *Vault) Capabilities(ctx context.Context, namespace string, paths []string) (map[string][]string, error) {
	data, err := v.call(ctx, namespace, transport.Request{
		Method: http.MethodPost, Path: "sys/capabilities-self", Body: map[string]any{"paths": paths}, Capability: `"update"`,
	})
	if err != nil {
		return nil, Explain(err)
	}
	held := map[string][]string{}
	for _, path := range paths {
		held[path] = transport.Texts(data[path])
	}
	return held, nil
}

// Granted are all rules of the token's policies together, and whether it is root's; nil if it may not ask. An asterisk
// at the end of a path stands for whatever begins so. Source: GET sys/internal/ui/resultant-acl.
func (v *Vault) Granted(ctx context.Context, namespace string) (granted map[string][]string, root bool, err error) {
	data, err := v.call(ctx, namespace, transport.Request{
		Method: http.MethodGet, Path: "sys/internal/ui/resultant-acl", Capability: `"read"`,
	})
	if fault.Is(err, v1alpha1.ReasonPermissionDenied) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, Explain(err)
	}
	granted = map[string][]string{}
	for _, of := range []string{"exact_paths", "glob_paths"} {
		rules, _ := data[of].(map[string]any)
		for path, rule := range rules {
			allowed, _ := rule.(map[string]any)
			// Patterns with a plus stand as their policy has them; of all others the asterisk is cut off.
			if of == "glob_paths" && !slices.Contains(strings.Split(path, "/"), "+") {
				path += "*"
			}
			granted[path] = transport.Texts(allowed["capabilities"])
		}
	}
	root, _ = data["root"].(bool)
	return granted, root, nil
}

func (v *Vault) call(ctx context.Context, namespace string, r transport.Request) (data map[string]any, err error) {
	own, err := v.Session(ctx, namespace)
	if err != nil {
		return nil, err
	}
	err = own.Do(ctx, func(ctx context.Context, conn *session.Conn) error {
		response, failure := conn.Call(ctx, r)
		if failure == nil {
			data = response.Data
		}
		return failure
	})
	return data, err
}
