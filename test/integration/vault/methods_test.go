package vault_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/env"
)

// authMethod is one auth method, set up at a mount of its own, so that specs lock out, break and revoke nothing of each
// other.
type authMethod struct {
	*fixture
	kind, mount string
	// request is the login as the proxy counts it.
	request string
	// label is what sentences call it.
	label string
}

var (
	mounts     int
	apiServer  *env.ControlPlane
	ldapServer *env.LDAP
)

// usualMounts is where each method is mounted if the VaultConfig names no mount.
var usualMounts = map[string]string{
	"kubernetes": "kubernetes", "jwt": "jwt", "appRole": "approle", "userPass": "userpass", "ldap": "ldap", "cert": "cert",
}

// theAPIServer is started when a spec first needs it.
func theAPIServer() *env.ControlPlane {
	GinkgoHelper()
	if apiServer != nil {
		return apiServer
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var err error
	apiServer, err = env.StartControlPlane(ctx)
	Expect(err).NotTo(HaveOccurred())
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "other"}},
	} {
		Expect(apiServer.Client.Create(ctx, object)).To(Succeed())
	}
	return apiServer
}

// theLDAPServer is started when a spec first needs it. It has the user bob.
func theLDAPServer() *env.LDAP {
	GinkgoHelper()
	if ldapServer != nil {
		return ldapServer
	}
	var err error
	ldapServer, err = env.StartLDAP(context.Background(), map[string]string{"bob": password})
	Expect(err).NotTo(HaveOccurred())
	return ldapServer
}

const password = canary + "password with a space "

// terms of the tokens that a login makes.
type terms struct {
	ttl, maxTTL, period time.Duration
	uses                int
	tokenType           string
	noDefaultPolicy     bool
}

func (t terms) fields() map[string]any {
	fields := map[string]any{"token_policies": []string{"reader"}, "token_ttl": "1h"}
	for name, duration := range map[string]time.Duration{
		"token_ttl": t.ttl, "token_max_ttl": t.maxTTL, "token_period": t.period,
	} {
		if duration > 0 {
			fields[name] = duration.String()
		}
	}
	if t.uses > 0 {
		fields["token_num_uses"] = t.uses
	}
	if t.tokenType != "" {
		fields["token_type"] = t.tokenType
	}
	if t.noDefaultPolicy {
		fields["token_no_default_policy"] = true
	}
	return fields
}

func with(fields map[string]any, more ...any) map[string]any {
	for i := 0; i < len(more); i += 2 {
		fields[more[i].(string)] = more[i+1]
	}
	return fields
}

// newAuthMethod sets an auth method up in Vault, at the mount or at one of its own, and a VaultConfig that uses it.
func newAuthMethod(ctx context.Context, kind, mount string, t terms) *authMethod {
	GinkgoHelper()
	w := &authMethod{fixture: newFixture(), kind: kind, mount: mount}
	own := v1alpha1.MountPath("")
	if mount == "" {
		mounts++
		w.mount = fmt.Sprintf("%s-%d", kind, mounts)
		own = v1alpha1.MountPath(w.mount)
	}
	server.EnableAuth(w.mount, usualMounts[kind])
	DeferCleanup(func() { server.DisableAuth(w.mount) })
	w.request = "POST auth/" + w.mount + "/login"
	w.label = kind
	auth := v1alpha1.VaultAuth{}
	path := "auth/" + w.mount
	switch kind {
	case "kubernetes":
		w.label += " role app"
		auth.Kubernetes = &v1alpha1.ServiceAccountAuth{Mount: own, Role: "app", ServiceAccountName: "app"}
		server.TrustCluster(ctx, theAPIServer(), w.mount, kind)
		server.Write(
			path+"/role/app",
			with(
				t.fields(), "bound_service_account_names", "app", "bound_service_account_namespaces", "shop", "audience", "vault",
			),
		)
	case "jwt":
		w.label += " role app"
		auth.JWT = &v1alpha1.ServiceAccountAuth{Mount: own, Role: "app", ServiceAccountName: "app"}
		server.TrustCluster(ctx, theAPIServer(), w.mount, kind)
		server.Write(path+"/role/app", with(t.fields(), "role_type", "jwt", "user_claim", "sub",
			"bound_audiences", "vault", "bound_subject", "system:serviceaccount:shop:app"))
	case "appRole":
		server.Write(path+"/role/app", t.fields())
		auth.AppRole = &v1alpha1.AppRoleAuth{Mount: own, RoleID: server.Get(path + "/role/app/role-id")["role_id"],
			SecretIDSecretKeyRef: v1alpha1.SecretKeyReference{Name: "approle", Key: "id"}}
		w.setSecret("approle", "id", w.secretID()+"\n")
	case "userPass":
		w.label += " user bob"
		w.request += "/bob"
		server.Write(path+"/users/bob", with(t.fields(), "password", password))
		auth.UserPass = &v1alpha1.PasswordAuth{
			Mount: own, Username: "bob", PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: "bob", Key: "password"},
		}
		w.setSecret("bob", "password", password+"\n")
	case "ldap":
		w.label += " user bob"
		w.request += "/bob"
		server.Write(
			path+"/config",
			with(
				t.fields(), "url", theLDAPServer().URL(), "userdn", "ou=people,"+env.LDAPBase, "userattr", "uid", "discoverdn",
				false,
			),
		)
		auth.LDAP = &v1alpha1.PasswordAuth{
			Mount: own, Username: "bob", PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: "bob", Key: "password"},
		}
		w.setSecret("bob", "password", password+"\r\n")
	case "cert":
		w.label += " role app"
		auth.Cert = &v1alpha1.CertAuth{
			Mount: own, Role: "app", ClientCertificateSecretRef: v1alpha1.TLSSecretReference{Name: "tls"},
		}
		server.Write(
			path+"/certs/app", with(t.fields(), "certificate", server.CACertificate(), "allowed_common_names", "sallyport"),
		)
		w.setCertificate("sallyport")
		w.config.Spec.URL = server.URL() // a proxy would end TLS, and with it the certificate
	}
	w.config.Spec.Auth = auth
	if kind == "kubernetes" || kind == "jwt" {
		w.newSessions(session.Options{Kubernetes: theAPIServer().Clients})
	}
	w.secretReads.Store(0)
	return w
}

func (w *authMethod) secretID() string {
	id := server.Write("auth/"+w.mount+"/role/app/secret-id", nil)["secret_id"]
	w.tokens = append(w.tokens, id)
	return id
}

func (w *authMethod) wrapping() string {
	token := server.Wrap("auth/"+w.mount+"/role/app/secret-id", time.Minute)
	w.tokens = append(w.tokens, token)
	return token
}

func (w *authMethod) setCertificate(commonName string) {
	certificate, key := server.ClientCertificate(commonName)
	w.setSecretData("tls", map[string][]byte{corev1.TLSCertKey: []byte(certificate), corev1.TLSPrivateKeyKey: []byte(key)})
}

// lockout says when Vault locks accounts of the method.
func (w *authMethod) lockout(config map[string]any) {
	server.Write("sys/auth/"+w.mount+"/tune", map[string]any{"user_lockout_config": config})
}

// logins is how often somebody logged in; living how many tokens of this method there are in Vault.
func (w *authMethod) logins() int { return proxy.Counts()[w.request] }
func (w *authMethod) living() int {
	path := "auth/" + w.mount + "/login"
	if w.kind == "userPass" || w.kind == "ldap" {
		path += "/bob"
	}
	return server.TokensFrom(path)
}

func (w *authMethod) read(ctx context.Context) error {
	session, err := w.sessions.For(ctx, w.config)
	if err != nil {
		return err
	}
	w.mute(session)
	_, err = secrets.Read(ctx, session, at("db"))
	return err
}

// as ends sentences.
func (w *authMethod) as() string { return "(VaultConfig shop/prod, auth " + w.label + ")" }

var kinds = []string{"kubernetes", "jwt", "appRole", "userPass", "ldap", "cert"}

var _ = Describe("Logging in with", func() {
	BeforeEach(func() { server.PutKV("secret/data/db", map[string]any{"password": canary + "db"}) })

	for _, kind := range kinds {
		Describe(kind, func() {
			It("works at the usual mount, once for callers who come together", func(ctx context.Context) {
				w := newAuthMethod(ctx, kind, usualMounts[kind], terms{})
				var group sync.WaitGroup
				for range 20 {
					group.Go(func() {
						defer GinkgoRecover()
						Expect(w.read(ctx)).To(Succeed())
					})
				}
				group.Wait()
				Expect(w.living()).To(Equal(1))
				info := w.session(ctx).Token()
				Expect(info.FromLogin).To(BeTrue())
				Expect(info.Policies).To(ContainElement("reader"))
				Expect(info.ExpireTime).To(BeTemporally("~", w.clock.Now().Add(time.Hour), 5*time.Second))
				Expect(info.Renewable).To(BeTrue())
			})

			It("keeps the token alive, and logs in anew before its max TTL ends it", func(ctx context.Context) {
				w := newAuthMethod(ctx, kind, "", terms{ttl: time.Hour, maxTTL: 2 * time.Hour})
				Expect(w.read(ctx)).To(Succeed())
				session := w.session(ctx)
				due := session.NextRenewal()
				w.later(time.Until(due) + time.Minute)

				By("renewing when that is due, whoever uses it")
				Expect(w.read(ctx)).To(Succeed())
				Expect(session.Token().LastRenewal).To(BeTemporally("==", w.clock.Now()))
				Expect(session.Token().MaxTTLReached).To(BeFalse())
				Expect(session.NextRenewal()).To(BeTemporally(">", w.clock.Now()))
				Expect(w.living()).To(Equal(1))
			})

			It("logs in once more after its token was revoked, and the request succeeds", func(ctx context.Context) {
				w := newAuthMethod(ctx, kind, "", terms{})
				Expect(w.read(ctx)).To(Succeed())
				server.RevokeAllFrom("auth/" + w.mount + "/login")
				Eventually(w.living).Should(BeZero())
				var group sync.WaitGroup
				for range 10 {
					group.Go(func() {
						defer GinkgoRecover()
						Expect(w.read(ctx)).To(Succeed())
					})
				}
				group.Wait()
				Expect(w.living()).To(Equal(1))
			})

			It("revokes the token when the VaultConfig is gone", func(ctx context.Context) {
				w := newAuthMethod(ctx, kind, "", terms{})
				Expect(w.read(ctx)).To(Succeed())
				w.sessions.Forget(w.config.UID)
				Eventually(w.living).Should(BeZero())
			})
		})
	}

	It("names the Vault namespace of the login", func(ctx context.Context) {
		w := newAuthMethod(ctx, "userPass", "", terms{})
		asEnterprise()
		w.config.Spec.Auth.UserPass.VaultNamespace = "team-a"
		_, _ = w.sessions.For(ctx, w.config)
		Expect(proxy.Namespace(w.request)).To(Equal("team-a"))
	})
})

// forbidden is the API server as somebody sees it who may do nothing.
func forbidden(cp *env.ControlPlane) *rest.Config {
	config := rest.CopyConfig(cp.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	return config
}
