package vault

import (
	"context"
	"crypto/sha256"
	"strings"

	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// method is one way to authenticate to Vault.
type method interface {
	// label is how sentences call it: the method's name as in spec.auth, and who logs in.
	label() string
	// credential reads from Kubernetes what the method logs in with, and what tells that from another.
	credential(ctx context.Context, reader client.Reader) (credential, error)
	// login turns a credential into a token and says what Vault knows of it. A fault AuthFailed means that Vault does not
	// accept this credential; a refusedLogin says when it may be offered again.
	login(ctx context.Context, l *link, c credential) (*grant, error)
	// cure of a credential that Vault does not accept, for sentences.
	cure() string
	// ours is whether the token is made by a login, and so Sallyport's to replace and to revoke.
	ours() bool
	// namespace of Vault that the token lives in.
	namespace() string
}

// grant is what a login gives.
type grant struct {
	token token
	info  TokenInfo
	// link that the token is bound to; nil if any will do.
	link *link
}

// credential is what a method logs in with.
type credential struct {
	secret token
	// fingerprint tells whether it changed, and lets a rejected credential be remembered without being kept. It stays in
	// memory.
	fingerprint [sha256.Size]byte
}

func newCredential(secret string) credential {
	return credential{secret: newToken(secret), fingerprint: sha256.Sum256([]byte(secret))}
}

// methodOf returns the auth method that a VaultConfig names. The API server lets only one be named; objects that never
// were there are checked here.
func methodOf(config *v1alpha1.VaultConfig, clients kubernetes.Interface, workload *visitor) (method, error) {
	auth := &config.Spec.Auth
	as := configName(config)
	var methods []method
	var named []string
	var problem error
	add := func(field string, m method, err error) {
		methods, named = append(methods, m), append(named, "spec.auth."+field)
		if problem == nil {
			problem = err
		}
	}
	if auth.Token != nil {
		add("token", tokenMethod{namespaceOfSecret: config.Namespace, ref: auth.Token.SecretKeyRef, as: as}, nil)
	}
	if auth.Kubernetes != nil {
		m, err := newServiceAccountMethod(kubernetesKind, config, auth.Kubernetes, clients, workload)
		add("kubernetes", m, err)
	}
	if auth.JWT != nil {
		m, err := newServiceAccountMethod(jwtKind, config, auth.JWT, clients, workload)
		add("jwt", m, err)
	}
	if auth.AppRole != nil {
		m, err := newAppRoleMethod(config, auth.AppRole)
		add("appRole", m, err)
	}
	if auth.UserPass != nil {
		m, err := newPasswordMethod("userPass", config, auth.UserPass)
		add("userPass", m, err)
	}
	if auth.LDAP != nil {
		m, err := newPasswordMethod("ldap", config, auth.LDAP)
		add("ldap", m, err)
	}
	if auth.Cert != nil {
		m, err := newCertMethod(config, auth.Cert)
		add("cert", m, err)
	}
	const all = "token, kubernetes, jwt, appRole, userPass, ldap and cert"
	switch {
	case len(methods) == 0:
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.auth: no method is set; set one of %s (%s)", all, as)
	case len(methods) > 1:
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.auth: more than one method is set; leave one of %s (%s)", strings.Join(named, ", "), as)
	case problem != nil:
		return nil, fault.In(problem, "%s", named[0])
	}
	return methods[0], nil
}

// MethodName is the name of a VaultConfig's auth method, as in spec.auth; empty if none is set.
func MethodName(auth *v1alpha1.VaultAuth) string {
	switch {
	case auth.Token != nil:
		return "token"
	case auth.Kubernetes != nil:
		return "kubernetes"
	case auth.JWT != nil:
		return "jwt"
	case auth.AppRole != nil:
		return "appRole"
	case auth.UserPass != nil:
		return "userPass"
	case auth.LDAP != nil:
		return "ldap"
	case auth.Cert != nil:
		return "cert"
	}
	return ""
}
