// Package ownvault is the user's own way to Vault: the address and the token that Vault's command line uses, too. No
// token of Sallyport's is ever used here, and the user's goes nowhere but to that address: what a VaultConfig says of
// addresses and certificates was written by others, who would be sent it.
package ownvault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
)

// Vault is the user's own access.
type Vault struct {
	address, caCertificate, serverName string
	sessions                           *session.Sessions
}

// holder has the token. It is a function, so that nothing can print it.
type holder func() string

// names in the place of an object's and its Secret's, for sentences.
const (
	kind      = "your own token,"
	variables = "VAULT_ADDR"
	tokenName = "VAULT_TOKEN"
)

// FromEnvironment reads VAULT_ADDR, VAULT_TOKEN (or the file ~/.vault-token, where "vault login" keeps it),
// VAULT_CACERT and VAULT_TLS_SERVER_NAME. Nothing is asked yet.
func FromEnvironment(get func(string) string) (*Vault, error) {
	v := &Vault{address: strings.TrimRight(get("VAULT_ADDR"), "/"), serverName: get("VAULT_TLS_SERVER_NAME")}
	token := strings.TrimSpace(cmp.Or(get("VAULT_TOKEN"), keptToken(get("HOME"))))
	if v.address == "" || token == "" {
		return nil, errors.New("this needs your own access to Vault: set VAULT_ADDR, and VAULT_TOKEN unless you did vault login")
	}
	if file := get("VAULT_CACERT"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, errors.New("VAULT_CACERT: " + err.Error()) // not as one of the cluster
		}
		v.caCertificate = string(pem)
	}
	var err error
	v.sessions, err = session.NewSessions(session.Options{
		Reader: holder(func() string { return token }), AllowedURLs: []string{v.address},
	})
	if err != nil {
		return nil, fmt.Errorf("VAULT_ADDR: %w", err)
	}
	return v, nil
}

func keptToken(home string) string {
	if home == "" {
		return ""
	}
	token, err := os.ReadFile(filepath.Join(home, ".vault-token"))
	if err != nil {
		return ""
	}
	return string(token)
}

// Address of the Vault.
func (v *Vault) Address() string { return v.address }

// Sessions make requests with the user's token, for VaultConfigs that As made.
func (v *Vault) Sessions() *session.Sessions { return v.sessions }

// Session is the user's own, in a namespace of Vault.
func (v *Vault) Session(ctx context.Context, namespace string) (*session.Session, error) {
	config := &v1alpha1.VaultConfig{}
	config.Kind, config.Namespace, config.Name = kind, variables, tokenName
	config.UID = types.UID("own " + namespace)
	config.Spec.VaultNamespace = namespace
	v.As(config)
	s, err := v.sessions.For(ctx, config)
	return s, Explain(err)
}

// As turns a VaultConfig into one that leads to the user's Vault, with the user's token; what it says of engine,
// namespaces and use stays.
func (v *Vault) As(config *v1alpha1.VaultConfig) {
	config.Spec.URL, config.Spec.CACertificate, config.Spec.CACertificateFrom = v.address, v.caCertificate, nil
	config.Spec.TLS, config.Spec.Proxy, config.Spec.Headers, config.Spec.Limits = nil, nil, nil, nil
	if v.serverName != "" {
		config.Spec.TLS = &v1alpha1.VaultTLS{ServerName: v.serverName}
	}
	config.Spec.Auth = v1alpha1.VaultAuth{Token: &v1alpha1.TokenAuth{
		SecretKeyRef: v1alpha1.SecretKeyReference{Name: tokenName, Key: "token"},
	}}
}

// Explain turns what went wrong with the user's own token into a sentence for its owner.
func Explain(err error) error {
	found, is := errors.AsType[*fault.Fault](err)
	switch {
	case !is: // it is for its owner already
		return err
	case found.Reason == v1alpha1.ReasonAuthFailed:
		return errors.New("your own token (VAULT_TOKEN, or ~/.vault-token) is not accepted by Vault: do vault login again")
	}
	return errors.New("with your own token: " + found.Message())
}

// Get implements client.Reader: there is but one Secret.
func (h holder) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	secret, is := object.(*corev1.Secret)
	if !is {
		return errors.New("nothing but the token is kept here")
	}
	secret.Data = map[string][]byte{"token": []byte(h())}
	return nil
}

// List implements client.Reader.
func (holder) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("nothing is listed here")
}
