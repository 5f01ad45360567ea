package vault_test

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/kubernetes"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A login that cannot work", func() {
	// refused logs in with what the change leaves of a good VaultConfig, and returns the sentence. Mount names are left out of it.
	refused := func(ctx context.Context, kind string, change func(*way), reason string) string {
		GinkgoHelper()
		w := newWay(ctx, kind, "", terms{})
		change(w)
		_, err := w.sessions.For(ctx, w.config)
		return strings.ReplaceAll(w.said(err, reason), w.mount, "MOUNT")
	}
	const config = "(VaultConfig shop/prod)"

	DescribeTable("says why, and what cures it",
		func(ctx context.Context, kind string, change func(*way), reason, sentence string) {
			Expect(refused(ctx, kind, change, reason)).To(Equal(sentence))
		},
		Entry("two methods", "appRole", func(w *way) { w.config.Spec.Auth.Token = &v1alpha1.TokenAuth{} }, v1alpha1.ReasonInvalidSpec,
			"spec.auth: more than one method is set; leave one of spec.auth.token, spec.auth.appRole "+config),

		// What is wrong in Kubernetes.
		Entry("no Secret", "userPass", func(w *way) { w.config.Spec.Auth.UserPass.PasswordSecretKeyRef.Name = "none" }, v1alpha1.ReasonCredentialMissing,
			"Secret shop/none does not exist "+config+"; create it"),
		Entry("no such key", "ldap", func(w *way) { w.config.Spec.Auth.LDAP.PasswordSecretKeyRef.Key = "none" }, v1alpha1.ReasonCredentialMissing,
			`Secret shop/bob has no key "none" `+config+`; add it`),
		Entry("an empty password", "userPass", func(w *way) { w.setSecret("bob", "password", "\n") }, v1alpha1.ReasonCredentialMissing,
			`Secret shop/bob, key "password" is empty `+config+`; put the password there`),
		Entry("two lines in place of a password", "userPass", func(w *way) { w.setSecret("bob", "password", canary+"\nmore\n") }, v1alpha1.ReasonInvalidSpec,
			`Secret shop/bob, key "password" holds more than one line `+config+`; put the password alone there`),
		Entry("two words in place of a secret ID", "appRole", func(w *way) { w.setSecret("approle", "id", canary+" more") }, v1alpha1.ReasonInvalidSpec,
			`Secret shop/approle, key "id" holds white space or characters that a secret ID cannot have `+config+`; put the secret ID alone there`),
		Entry("a wrapping token in place of a secret ID", "appRole", func(w *way) { w.setSecret("approle", "id", w.wrapping()) }, v1alpha1.ReasonInvalidSpec,
			`Secret shop/approle, key "id" holds a Vault token and no secret ID `+config+`; put a secret ID there, or set spec.auth.appRole.secretIDWrapped if it is a wrapping token`),
		Entry("a role ID with a space", "appRole", func(w *way) { w.config.Spec.Auth.AppRole.RoleID = "a b" }, v1alpha1.ReasonInvalidSpec,
			"spec.auth.appRole: roleID: is empty or holds white space; write the role ID alone (VaultConfig shop/prod, auth appRole)"),
		Entry("no certificate", "cert", func(w *way) { w.setSecret("tls", "tls.crt", "none") }, v1alpha1.ReasonCredentialMissing,
			`Secret shop/tls has no key "tls.key" `+config+`; add it`),
		Entry("a certificate without its key", "cert", func(w *way) {
			certificate, _ := server.ClientCertificate("sallyport")
			_, key := server.ClientCertificate("sallyport")
			w.setSecretData("tls", map[string][]byte{"tls.crt": []byte(certificate), "tls.key": []byte(key)})
		}, v1alpha1.ReasonInvalidSpec,
			"Secret shop/tls holds no certificate with its key "+config+"; put both there as PEM, tls.crt and tls.key of the same pair"),
		Entry("no such service account", "kubernetes", func(w *way) { w.config.Spec.Auth.Kubernetes.ServiceAccountName = "none" }, v1alpha1.ReasonCredentialMissing,
			"service account shop/none does not exist (VaultConfig shop/prod, auth kubernetes role app); create it, or correct spec.auth.kubernetes.serviceAccountName"),
		Entry("a service account that Sallyport may make no token for", "jwt", func(w *way) {
			nobody, err := kubernetes.NewForConfig(forbidden(theAPIServer()))
			Expect(err).NotTo(HaveOccurred())
			w.newSessions(vault.Options{Kubernetes: nobody})
		}, v1alpha1.ReasonInternal,
			"Sallyport may not make a token for service account shop/app (VaultConfig shop/prod, auth jwt role app); "+
				"let its service account create serviceaccounts/token in namespace shop"),
		Entry("neither a service account nor a workload", "jwt", func(w *way) { w.config.Spec.Auth.JWT.ServiceAccountName = "" }, v1alpha1.ReasonInvalidSpec,
			"spec.auth.jwt: set exactly one of serviceAccountName and workload: true (VaultConfig shop/prod, auth jwt role app)"),
		Entry("an audience of the API server", "kubernetes", func(w *way) {
			w.config.Spec.Auth.Kubernetes.Audience = strings.TrimSuffix(theAPIServer().Config.Host, "/") + "/"
		}, v1alpha1.ReasonInvalidSpec, "?"),

		// What is wrong in Vault.
		Entry("kubernetes: no such mount", "kubernetes", func(w *way) { w.config.Spec.Auth.Kubernetes.Mount = "none" }, v1alpha1.ReasonAuthFailed,
			"POST auth/none/login → 403 no auth method is mounted there (VaultConfig shop/prod, auth kubernetes role app); enable it in Vault, or correct spec.auth.kubernetes.mount"),
		Entry("jwt: no such mount", "jwt", func(w *way) { w.config.Spec.Auth.JWT.Mount = "none" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("appRole: no such mount", "appRole", func(w *way) { w.config.Spec.Auth.AppRole.Mount = "none" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("userPass: no such mount", "userPass", func(w *way) { w.config.Spec.Auth.UserPass.Mount = "none" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("cert: no such mount", "cert", func(w *way) { w.config.Spec.Auth.Cert.Mount = "none" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("kubernetes: no such role", "kubernetes", func(w *way) { w.config.Spec.Auth.Kubernetes.Role = "none" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("kubernetes: another audience", "kubernetes", func(w *way) { w.config.Spec.Auth.Kubernetes.Audience = "other" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("kubernetes: another service account", "kubernetes", func(w *way) { w.config.Spec.Auth.Kubernetes.ServiceAccountName = "other" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("kubernetes: not configured", "kubernetes", func(w *way) {
			server.DisableAuth(w.mount)
			server.EnableAuth(w.mount, "kubernetes")
		}, v1alpha1.ReasonAuthFailed, "?"),
		Entry("kubernetes: Vault may not review", "kubernetes", func(w *way) {
			server.Write("auth/"+w.mount+"/config", map[string]any{"kubernetes_host": theAPIServer().Config.Host,
				"kubernetes_ca_cert": string(theAPIServer().Config.CAData), "disable_local_ca_jwt": true})
		}, v1alpha1.ReasonAuthFailed, "?"),
		Entry("jwt: no such role", "jwt", func(w *way) { w.config.Spec.Auth.JWT.Role = "none" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("jwt: another audience", "jwt", func(w *way) { w.config.Spec.Auth.JWT.Audience = "other" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("jwt: another service account", "jwt", func(w *way) { w.config.Spec.Auth.JWT.ServiceAccountName = "other" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("jwt: not configured", "jwt", func(w *way) {
			server.DisableAuth(w.mount)
			server.EnableAuth(w.mount, "jwt")
		}, v1alpha1.ReasonAuthFailed, "?"),
		Entry("appRole: wrong role ID", "appRole", func(w *way) { w.config.Spec.Auth.AppRole.RoleID = "none" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("appRole: wrong secret ID", "appRole", func(w *way) { w.setSecret("approle", "id", canary+"none") }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("userPass: no such user", "userPass", func(w *way) { w.config.Spec.Auth.UserPass.Username = "none" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("userPass: wrong password", "userPass", func(w *way) { w.setSecret("bob", "password", canary+"wrong") }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("userPass: a locked user", "userPass", func(w *way) {
			for range 6 {
				_, _ = server.Client().Logical().Write("auth/"+w.mount+"/login/bob", map[string]any{"password": "wrong"})
			}
		}, v1alpha1.ReasonAuthFailed, "?"),
		Entry("ldap: no such user", "ldap", func(w *way) { w.config.Spec.Auth.LDAP.Username = "none" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("ldap: wrong password", "ldap", func(w *way) { w.setSecret("bob", "password", canary+"wrong") }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("ldap: no LDAP server", "ldap", func(w *way) {
			server.Write("auth/"+w.mount+"/config", map[string]any{"url": "ldap://127.0.0.1:1"})
		}, v1alpha1.ReasonVaultError, "?"),
		Entry("cert: a certificate that the role does not accept", "cert", func(w *way) { w.setCertificate("somebody") }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("cert: no such role", "cert", func(w *way) { w.config.Spec.Auth.Cert.Role = "none" }, v1alpha1.ReasonAuthFailed, "?"),
		Entry("cert: through a proxy that ends TLS", "cert", func(w *way) { w.config.Spec.URL = proxy.URL() }, v1alpha1.ReasonAuthFailed, "?"),
	)
})

var _ = env.Namespace
var _ = time.Second
