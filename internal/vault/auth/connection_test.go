package auth

import (
	"context"
	"net/http"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

var shopX = client.ObjectKey{Namespace: "shop", Name: "x"}

type texts map[string]string

func (t texts) of(key string) string { return t[key] }

func TestFromConnection(t *testing.T) {
	ref := func(key string) v1alpha1.SecretKeyReference { return v1alpha1.SecretKeyReference{Name: "x", Key: key} }
	password := &v1alpha1.PasswordAuth{Username: "bob", PasswordSecretKeyRef: ref("password")}
	mounted := &v1alpha1.PasswordAuth{Mount: "m", Username: "bob", PasswordSecretKeyRef: ref("password")}
	const giveOne = "; give exactly one of token, of username with password, and of roleID with secretID"
	tests := []struct {
		name     string
		texts    texts
		auth     v1alpha1.VaultAuth
		secret   string
		sentence string
	}{
		{name: "a token", texts: texts{"token": "s"}, secret: "token",
			auth: v1alpha1.VaultAuth{Token: &v1alpha1.TokenAuth{SecretKeyRef: ref("token")}}},
		{name: "a password", texts: texts{"username": "bob", "password": "s"}, secret: "password",
			auth: v1alpha1.VaultAuth{UserPass: password}},
		{name: "userpass at a mount", texts: texts{
			"username": "bob", "password": "s", "authMethod": "userpass", "authMount": "m",
		},
			secret: "password", auth: v1alpha1.VaultAuth{UserPass: mounted}},
		{name: "ldap", texts: texts{"username": "bob", "password": "s", "authMethod": "ldap"}, secret: "password",
			auth: v1alpha1.VaultAuth{LDAP: password}},
		{name: "a secret ID", texts: texts{"roleID": "r", "secretID": "s", "authMount": "m"}, secret: "secretID",
			auth: v1alpha1.VaultAuth{
				AppRole: &v1alpha1.AppRoleAuth{Mount: "m", RoleID: "r", SecretIDSecretKeyRef: ref("secretID")},
			}},
		{name: "a wrapped secret ID", texts: texts{"roleID": "r", "secretID": "s", "secretIDWrapped": "true"}, secret: "secretID",
			auth: v1alpha1.VaultAuth{AppRole: &v1alpha1.AppRoleAuth{
				RoleID: "r", SecretIDSecretKeyRef: ref("secretID"), SecretIDWrapped: new(true),
			}}},
		{name: "one that is not", texts: texts{"roleID": "r", "secretID": "s", "secretIDWrapped": "false"}, secret: "secretID",
			auth: v1alpha1.VaultAuth{AppRole: &v1alpha1.AppRoleAuth{RoleID: "r", SecretIDSecretKeyRef: ref("secretID")}}},
		{name: "wrapped, or not", texts: texts{"roleID": "r", "secretID": "s", "secretIDWrapped": "hunter2"},
			sentence: `value has something else than a truth value at the key "secretIDWrapped"; write true or false`},
		{name: "nothing that is wrapped", texts: texts{"roleID": "r", "secretIDWrapped": "true"},
			sentence: `value has no text at the key "secretID", which belongs to roleID; add it`},
		{name: "a token that is wrapped", texts: texts{"token": "s", "secretIDWrapped": "true"},
			sentence: `value has the key "secretIDWrapped", which belongs to roleID and secretID; remove it`},
		{name: "a password that is not", texts: texts{"username": "bob", "password": "s", "secretIDWrapped": "false"},
			sentence: `value has the key "secretIDWrapped", which belongs to roleID and secretID; remove it`},
		{name: "nothing", sentence: "value has no credentials, which a Connection of type VAULT needs" + giveOne},
		{name: "two kinds", texts: texts{"token": "s", "password": "s"},
			sentence: "value has credentials of more than one kind (token, password)" + giveOne},
		{name: "one half", texts: texts{"password": "s"},
			sentence: `value has no text at the key "username", which belongs to password; add it`},
		{name: "a mount for a token", texts: texts{"token": "s", "authMount": "m"},
			sentence: `value has a token and the key "authMount", which is for logins; remove one of them`},
		{name: "a method for a token", texts: texts{"token": "s", "authMethod": "ldap"},
			sentence: `value has the key "authMethod", which belongs to username and password; remove it`},
		{name: "a method for a secret ID", texts: texts{"roleID": "r", "secretID": "s", "authMethod": "approle"},
			sentence: `value has the key "authMethod", which belongs to username and password; remove it`},
		{name: "another method", texts: texts{"username": "bob", "password": "s", "authMethod": "hunter2"},
			sentence: `value has an unknown method at the key "authMethod"; write userpass or ldap`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			auth, credentials, err := FromConnection(shopX, test.texts.of)
			if test.sentence != "" {
				g.Expect(err).To(MatchError("Connection shop/x: " + test.sentence))
				g.Expect(fault.Is(err, v1alpha1.ReasonInvalidSpec)).To(BeTrue())
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(auth).To(Equal(test.auth))
			g.Expect(credentials).To(Equal(map[string]string{test.secret: "s"}))
		})
	}
	for _, username := range []string{"a/b", "a\nb", ".."} {
		g := NewWithT(t)
		_, _, err := FromConnection(shopX, texts{"username": username, "password": "s"}.of)
		g.Expect(err).To(MatchError(
			"the user name is empty, or holds a slash or what cannot be printed; correct it (Connection shop/x)"))
	}
	NewWithT(t).Expect(ConnectionCredentials()).To(Equal([]string{"token", "username", "password", "roleID", "secretID"}))
	NewWithT(t).Expect(ConnectionSettings()).To(Equal([]string{"authMount", "authMethod", "secretIDWrapped"}))
}

// TestSentencesNameWhereALoginComesFrom: the same mistake, made in a VaultConfig and in a Connection.
func TestSentencesNameWhereALoginComesFrom(t *testing.T) {
	type words struct{ spec, connection string }
	tests := []struct {
		name  string
		texts texts
		said  func(m Method) string
		words words
	}{
		{"a wrong password", texts{"username": "bob", "password": "s"},
			func(m Method) string { return diagnosed(m.(*passwordMethod).diagnose, http.StatusBadRequest) },
			words{
				`put the right password into Secret shop/x, key "password", or correct spec.auth.userPass.username; ` +
					"it is tried again at once when one of these changes, and else rarely enough for nobody to be locked out",
				`put the right password into Connection shop/x, key "password", or correct username; ` +
					"it is tried again at once when one of these changes, and else rarely enough for nobody to be locked out",
			}},
		{"a wrong secret ID", texts{"roleID": "r", "secretID": "s"},
			func(m Method) string { return diagnosed(m.(*appRoleMethod).diagnose, http.StatusBadRequest) },
			words{
				`put a new secret ID into Secret shop/x, key "secretID", or correct spec.auth.appRole.roleID; ` +
					"it is tried again at once when one of these changes, and else rarely enough for nobody to be locked out",
				`put a new secret ID into Connection shop/x, key "secretID", or correct roleID; ` +
					"it is tried again at once when one of these changes, and else rarely enough for nobody to be locked out",
			}},
		{"a mount", texts{"roleID": "r", "secretID": "s"},
			func(m Method) string { return m.(*appRoleMethod).field("mount") },
			words{"spec.auth.appRole.mount", "authMount"}},
		{"a token", texts{"token": "s"}, Method.Remedy,
			words{`put a new token into Secret shop/x, key "token"`, `put a new token into Connection shop/x, key "token"`}},
		{
			"a user name", texts{"username": "bob", "password": "s", "authMethod": "ldap"}, Method.Label,
			words{"ldap user bob", "ldap"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			config := &v1alpha1.VaultConfig{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "x"}}
			var err error
			config.Spec.Auth, _, err = FromConnection(shopX, test.texts.of)
			g.Expect(err).NotTo(HaveOccurred())
			for _, from := range []struct {
				source Source
				want   string
			}{{FromSpec(config), test.words.spec}, {FromConnectionKeys(config), test.words.connection}} {
				m, err := New(Input{Config: config, Source: from.source})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(test.said(m)).To(Equal(from.want))
			}
		})
	}
}

func diagnosed(diagnose func(*transport.Response) (problem, remedy string), status int) string {
	_, remedy := diagnose(&transport.Response{Status: status})
	return remedy
}

// TestATokenIsNoSecretID: but it may be meant as a wrapping token.
func TestATokenIsNoSecretID(t *testing.T) {
	g := NewWithT(t)
	config := &v1alpha1.VaultConfig{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "x"}}
	config.Spec.Auth, _, _ = FromConnection(shopX, texts{"roleID": "r", "secretID": "hvs.x"}.of)
	for _, from := range []struct {
		source   Source
		sentence string
	}{
		{FromSpec(config), `Secret shop/x, key "secretID" holds a Vault token and no secret ID (VaultConfig shop/x); ` +
			"put a secret ID there, or set spec.auth.appRole.secretIDWrapped if it is a wrapping token"},
		{FromConnectionKeys(config), `Connection shop/x, key "secretID" holds a Vault token and no secret ID (VaultConfig shop/x); ` +
			"put a secret ID there, or set secretIDWrapped if it is a wrapping token"},
	} {
		m, err := New(Input{Config: config, Source: from.source})
		g.Expect(err).NotTo(HaveOccurred())
		_, err = m.ReadCredential(t.Context(), oneSecret{})
		g.Expect(err).To(MatchError(from.sentence))
	}
}

// oneSecret answers for any Secret with a token as its secret ID.
type oneSecret struct{ client.Reader }

func (oneSecret) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	if secret, ok := object.(*corev1.Secret); ok {
		secret.Data = map[string][]byte{"secretID": []byte("hvs.x")}
	}
	return nil
}
