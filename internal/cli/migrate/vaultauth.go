package migrate

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// vaultOperator is the Vault Secrets Operator.
type vaultOperator struct{ *migration }

// Kinds that say how to log in, and where.
const (
	kindAuth       = "VaultAuth"
	kindAuthGlobal = "VaultAuthGlobal"
	kindConnection = "VaultConnection"
)

// referred finds an object that a reference of theirs names: NAME or NAMESPACE/NAME. Without a name it is the one
// called default, in the operator's own namespace.
func (m *vaultOperator) referred(ctx context.Context, by *opened, field, kind, ref string) (*opened, error) {
	of := schema.GroupKind{Group: groupVSO, Kind: kind}
	if ref == "" {
		return m.standard(ctx, by, field, of)
	}
	namespace, name, both := strings.Cut(ref, "/")
	if !both {
		namespace, name = by.namespace, ref
	}
	object, err := m.in.find(ctx, of, key{namespace, name})
	if err != nil {
		return nil, err
	}
	if object == nil {
		by.note(NoEqual, field, "%s %s is not among the manifests: give it with -f too, or read from the cluster", kind, key{namespace, name})
		return nil, nil
	}
	return m.open(object), nil
}

// What the operator's chart calls its namespace, beginning so, and the objects that count where none is named.
const (
	usualNamespace = "vault-secrets-operator"
	usualName      = "default"
)

// standard finds the object that counts where a reference is left out. Which namespace is the operator's, only its
// installation knows.
func (m *vaultOperator) standard(ctx context.Context, by *opened, field string, of schema.GroupKind) (*opened, error) {
	all := m.in.named(of, usualName)
	if len(all) == 0 {
		object, err := m.in.find(ctx, of, key{by.namespace, usualName})
		if err != nil {
			return nil, err
		}
		if object == nil {
			return m.withoutStandard(by, field, of.Kind), nil
		}
		return m.open(object), nil
	}
	installed := slices.DeleteFunc(slices.Clone(all), func(o *unstructured.Unstructured) bool {
		return !strings.HasPrefix(o.GetNamespace(), usualNamespace)
	})
	if len(installed) == 1 {
		return m.open(installed[0]), nil
	}
	taken := all[0]
	var names []string
	for _, object := range all {
		if object.GetNamespace() == by.namespace {
			taken = object
		}
		names = append(names, called(object))
	}
	if len(all) > 1 {
		by.note(Elsewhere, field, "it is left out, which means the %s %q of the operator's own namespace; there are %s, and %s was taken: "+
			"if another one is meant, name it here as NAMESPACE/NAME, and migrate again", of.Kind, usualName, strings.Join(names, " and "), called(taken))
	}
	return m.open(taken), nil
}

// withoutStandard is what there is where the installation's own object is not known: of a VaultConnection its address,
// if that was given.
func (m *vaultOperator) withoutStandard(by *opened, field, kind string) *opened {
	where, other := "among the manifests", ""
	if m.in.get != nil {
		where = "in the cluster, or you may not see it"
	}
	if kind == kindConnection {
		if m.VaultURL != "" {
			unknown := &unstructured.Unstructured{}
			unknown.SetKind(kind)
			unknown.SetNamespace(by.namespace)
			unknown.SetName(usualName)
			return m.open(unknown)
		}
		other = " Vault's address with --vault-url, or"
	}
	by.note(NoEqual, field, "it is left out, which means the %s %q of the Vault Secrets Operator's own namespace, and that is not %s: give%s "+
		"its manifest with -f, too (kubectl get vaultauth,vaultconnection,vaultauthglobal -n %s-system -o yaml), or name another one here",
		kind, usualName, where, other, usualNamespace)
	return nil
}

// vaultAuth is a login: its own fields, and for what it leaves open those of its VaultAuthGlobal.
type vaultAuth struct {
	own, global *fields
	// method of the login, its own block, and that of the VaultAuthGlobal.
	method           string
	block, fromBlock *fields
}

// text is a field of the block of the method.
func (a *vaultAuth) text(name string) string {
	given := a.fromBlock.text(name)
	return cmp.Or(a.block.text(name), given)
}

// configFor makes the VaultConfig with which a secret of theirs is read: in the namespace of the secret, for service
// account and Secrets of a VaultAuth are those of whoever uses it. Empty if there is none, which was reported.
func (m *vaultOperator) configFor(ctx context.Context, o *opened) (string, error) {
	auth, err := m.referred(ctx, o, "vaultAuthRef", kindAuth, o.text("vaultAuthRef"))
	if err != nil || auth == nil {
		return "", err
	}
	a := &vaultAuth{own: auth.fields, global: m.nothing(auth)}
	if ref := auth.part("vaultAuthGlobalRef"); len(ref.content) > 0 {
		ref.needless("mergeStrategy", "allowDefault")
		name := cmp.Or(ref.text("name"), usualName)
		at := cmp.Or(ref.text("namespace"), auth.namespace) + "/" + name
		var global *opened
		if global, err = m.referred(ctx, auth, "vaultAuthGlobalRef", kindAuthGlobal, at); err != nil || global == nil {
			return "", err
		}
		a.global = global.fields
	}
	defaultMethod := a.global.text("defaultAuthMethod")
	a.method = cmp.Or(a.own.text("method"), defaultMethod, "kubernetes")
	a.block, a.fromBlock = a.own.part(a.method), a.global.part(a.method)
	given := a.global.text("vaultConnectionRef")
	at := cmp.Or(a.own.text("vaultConnectionRef"), given)
	connection, err := m.referred(ctx, auth, "vaultConnectionRef", kindConnection, at)
	if err != nil || connection == nil {
		return "", err
	}
	spec := reach(connection, o.namespace)
	ok := a.login(spec, strings.Trim(o.text("namespace"), "/"))
	for _, f := range []*fields{a.own, a.global, a.block, a.fromBlock} {
		f.noEqual("headers", "Sallyport sends no headers with a login alone: have it send them with all requests, by spec.headers of the VaultConfig")
		f.noEqual("params", "Sallyport sends nothing else with a login")
	}
	a.own.needless("allowedNamespaces", "storageEncryption")
	a.global.needless("allowedNamespaces", "kubernetes", "jwt", "appRole", "aws", "gcp")
	a.own.rest()
	a.global.rest()
	connection.rest()
	if !ok || spec.URL == "" {
		return "", nil
	}
	name := auth.name
	if name == usualName {
		name = "vault"
	}
	return m.config(key{o.namespace, name}, *spec), nil
}

// reach is what a VaultConnection says.
func reach(o *opened, home string) *v1alpha1.VaultConfigSpec {
	spec := &v1alpha1.VaultConfigSpec{URL: addressOf(o.fields, "address")}
	spec.Headers = headersOf(o.fields)
	if name := o.text("tlsServerName"); name != "" {
		spec.TLS = &v1alpha1.VaultTLS{ServerName: name}
	}
	if name := o.text("caCertSecretRef"); name != "" {
		spec.CACertificateFrom = authorityIn(name, "ca.crt")
		if o.namespace != home {
			o.note(Elsewhere, "caCertSecretRef", "a VaultConfig reads its authority from its own namespace: copy Secret %s from %s to %s", name, o.namespace, home)
		}
	}
	authorityOnDisk(o.fields, spec, "caCertPath")
	if o.truth("skipTLSVerify") {
		unverified(o.fields, "skipTLSVerify")
	}
	if text := o.text("timeout"); text != "" {
		timeout, err := time.ParseDuration(text)
		if err != nil {
			o.note(NoEqual, "timeout", "%q is no duration; write it as 10s or 1m", text)
			return spec
		}
		spec.Limits = &v1alpha1.VaultLimits{Timeout: &metav1.Duration{Duration: min(max(timeout, time.Second), time.Minute)}}
	}
	return spec
}

// login sets how to log in, and the namespace of Vault Enterprise to read in.
func (a *vaultAuth) login(spec *v1alpha1.VaultConfigSpec, reads string) bool {
	mounts := []string{a.fromBlock.text("mount"), a.global.text("defaultMount")}
	namespaces := []string{a.fromBlock.text("namespace"), a.global.text("defaultVaultNamespace")}
	mount := cmp.Or(append([]string{a.own.text("mount")}, mounts...)...)
	logsIn := strings.Trim(cmp.Or(append([]string{a.own.text("namespace")}, namespaces...)...), "/")
	spec.VaultNamespace = cmp.Or(reads, logsIn)
	if logsIn == spec.VaultNamespace {
		logsIn = ""
	}
	switch a.method {
	case "kubernetes", "jwt":
		account := a.serviceAccount(mount, logsIn)
		if a.method == "jwt" {
			spec.Auth.JWT = account
		} else {
			spec.Auth.Kubernetes = account
		}
		return account != nil
	case "appRole":
		spec.Auth.AppRole = &v1alpha1.AppRoleAuth{
			Mount: mountOf(mount, "approle"), VaultNamespace: logsIn, RoleID: a.text("roleId"),
			SecretIDSecretKeyRef: v1alpha1.SecretKeyReference{Name: a.text("secretRef"), Key: "id"},
		}
		if path := a.text("secretIDPath"); path != "" || spec.Auth.AppRole.SecretIDSecretKeyRef.Name == "" || spec.Auth.AppRole.RoleID == "" {
			a.own.note(NoEqual, "appRole", "Sallyport takes the role ID from the VaultConfig and the secret ID from a Secret: set roleId and secretRef, "+
				"and migrate again")
			return false
		}
		return true
	}
	a.own.note(NoEqual, "method", "%q is not known to Sallyport, which does not log in by clouds: use kubernetes or jwt with a service account", a.method)
	for _, f := range []*fields{a.block, a.fromBlock} {
		f.needless(slices.Collect(maps.Keys(f.content))...)
	}
	return false
}

// serviceAccount is a login with a service account's token; nil if the token is made by nobody.
func (a *vaultAuth) serviceAccount(mount, namespace string) *v1alpha1.ServiceAccountAuth {
	for _, f := range []*fields{a.block, a.fromBlock} {
		f.needless("tokenExpirationSeconds")
	}
	by := &v1alpha1.ServiceAccountAuth{
		Mount: mountOf(mount, a.method), VaultNamespace: namespace,
		Role: a.text("role"), ServiceAccountName: a.text("serviceAccount"),
	}
	token := a.text("secretRef")
	if by.ServiceAccountName == "" || by.Role == "" {
		if token != "" {
			a.block.note(NoEqual, "secretRef", "Sallyport makes the token for each login itself: name a service account in serviceAccount, which Vault's "+
				"role accepts, and migrate again")
		} else {
			a.own.note(NoEqual, a.method, "it names no role or no service account; correct the manifest")
		}
		return nil
	}
	audiences := a.fromBlock.texts("audiences")
	if own := a.block.texts("audiences"); len(own) > 0 {
		audiences = own
	}
	by.Audience = audienceOf(a.block, "audiences", slices.Clone(audiences), loginOf(by, a.method))
	return by
}
