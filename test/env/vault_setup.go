package env

import (
	"context"
	"net/http"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
)

// TokenOptions say what token to make. The zero value is a renewable service token without own policies and with
// Vault's default TTL.
type TokenOptions struct {
	Policies       []string
	TTL            time.Duration
	ExplicitMaxTTL time.Duration
	// Period makes a periodic token.
	Period       time.Duration
	NotRenewable bool
	// Batch makes a batch token instead of a service token.
	Batch bool
	// NumUses is how often the token can be used; zero: without limit.
	NumUses int
	// NoDefaultPolicy leaves out the policy "default", with which a token may look itself up and renew itself.
	NoDefaultPolicy bool
}

// Token makes a token. It has no parent, so that nothing but its own life and Revoke ends it.
func (v *Vault) Token(options TokenOptions) string {
	renewable := !options.NotRenewable
	request := &vaultapi.TokenCreateRequest{
		Policies:        options.Policies,
		NumUses:         options.NumUses,
		NoParent:        true,
		NoDefaultPolicy: options.NoDefaultPolicy,
		Type:            "service",
		TTL:             vaultDuration(options.TTL),
		ExplicitMaxTTL:  vaultDuration(options.ExplicitMaxTTL),
		Period:          vaultDuration(options.Period),
	}
	if options.Batch {
		request.Type = "batch"
	} else {
		request.Renewable = &renewable
	}
	if request.Policies == nil {
		request.Policies = []string{"default"} // none would mean root's
	}
	if options.NoDefaultPolicy && len(options.Policies) == 0 {
		request.Policies = []string{"none"}
	}
	secret, err := v.client.Auth().Token().Create(request)
	must(err)
	return secret.Auth.ClientToken
}

// Revoke ends a token's life.
func (v *Vault) Revoke(token string) { must(v.client.Auth().Token().RevokeTree(token)) }

// Policy writes a policy in Vault's policy language.
func (v *Vault) Policy(name, hcl string) { must(v.client.Sys().PutPolicy(name, hcl)) }

// PutKV writes a secret. The path is as Vault's API has it: secret/data/oracle (KV version 2), kv/oracle (version 1).
func (v *Vault) PutKV(path string, data map[string]any) {
	body := data
	if len(path) > len("secret/data/") && path[:len("secret/data/")] == "secret/data/" {
		body = map[string]any{"data": data}
	}
	_, err := v.client.Logical().Write(path, body)
	must(err)
}

// Mount enables a secrets engine.
func (v *Vault) Mount(path, kind string) {
	must(v.client.Sys().Mount(path, &vaultapi.MountInput{Type: kind}))
}

// Unmount disables a secrets engine, with all that is in it.
func (v *Vault) Unmount(path string) { must(v.client.Sys().Unmount(path)) }

// Create makes what lies at a path of an engine, such as transit/keys/app, with the engine's defaults.
func (v *Vault) Create(path string) {
	_, err := v.client.Logical().Write(path, map[string]any{})
	must(err)
}

// newClient returns a client without a token yet. Whatever VAULT_* the developer's shell has set is overridden.
func (v *Vault) newClient() (*vaultapi.Client, error) {
	config := vaultapi.DefaultConfig()
	if config.Error != nil {
		return nil, config.Error
	}
	config.Address, config.AgentAddress = v.URL(), ""
	config.HttpClient = &http.Client{Transport: &http.Transport{TLSClientConfig: v.pki.client(), ForceAttemptHTTP2: true}}
	config.MaxRetries = 0
	client, err := vaultapi.NewClient(config)
	if err != nil {
		return nil, err
	}
	client.ClearToken()
	client.ClearNamespace()
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	return client, nil
}

func (v *Vault) initialize(ctx context.Context) error {
	keys, err := v.client.Sys().InitWithContext(ctx, &vaultapi.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return err
	}
	v.key = keys.Keys[0]
	v.client.SetToken(keys.RootToken)
	if err := v.unseal(ctx); err != nil {
		return err
	}
	for path, version := range map[string]string{"secret": "2", "kv": "1"} {
		mount := &vaultapi.MountInput{Type: "kv", Options: map[string]string{"version": version}}
		if err := v.client.Sys().MountWithContext(ctx, path, mount); err != nil {
			return err
		}
	}
	return v.serving(ctx)
}

func (v *Vault) unseal(ctx context.Context) error {
	if _, err := v.client.Sys().UnsealWithContext(ctx, v.key); err != nil {
		return err
	}
	return v.poll(ctx, func() error {
		_, err := v.client.Sys().LeaderWithContext(ctx)
		if err != nil {
			return err
		}
		_, err = v.client.Auth().Token().LookupSelfWithContext(ctx)
		return err
	})
}

// serving waits for the KV version 2 engine, which answers 400 until it has set itself up.
func (v *Vault) serving(ctx context.Context) error {
	return v.poll(ctx, func() error {
		_, err := v.client.Logical().ReadWithContext(ctx, "secret/config")
		return err
	})
}

func vaultDuration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
