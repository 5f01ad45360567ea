package vault_test

import (
	"context"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/kubernetes"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A login that cannot work", func() {
	// refused logs in with what the change leaves of a good VaultConfig, and returns the sentence. Mount names are left
	// out of it.
	refused := func(ctx context.Context, kind string, change func(*authMethod), reason string) string {
		GinkgoHelper()
		w := newAuthMethod(ctx, kind, "", terms{})
		change(w)
		_, err := w.sessions.For(ctx, w.config)
		sentence := strings.ReplaceAll(w.said(err, reason), w.mount, "MOUNT")
		if apiServer != nil {
			sentence = strings.ReplaceAll(sentence, apiServer.Config.Host, "https://api/")
		}
		return sentence
	}
	const config = "(VaultConfig shop/prod)"

	DescribeTable("says why, and what cures it",
		func(ctx context.Context, kind string, change func(*authMethod), reason, sentence string) {
			Expect(refused(ctx, kind, change, reason)).To(Equal(sentence))
		},
		Entry("two methods", "appRole", func(w *authMethod) {
			w.config.Spec.Auth.Token = &v1alpha1.TokenAuth{}
		}, v1alpha1.ReasonInvalidSpec,
			"spec.auth: more than one method is set; leave one of spec.auth.token, spec.auth.appRole "+config),

		// What is wrong in Kubernetes.
		Entry("no Secret", "userPass", func(w *authMethod) {
			w.config.Spec.Auth.UserPass.PasswordSecretKeyRef.Name = "none"
		}, v1alpha1.ReasonCredentialMissing,
			"Secret shop/none does not exist "+config+"; create it"),
		Entry("no such key", "ldap", func(w *authMethod) {
			w.config.Spec.Auth.LDAP.PasswordSecretKeyRef.Key = "none"
		}, v1alpha1.ReasonCredentialMissing,
			`Secret shop/bob has no key "none" `+config+`; add it`),
		Entry("an empty password", "userPass", func(w *authMethod) {
			w.setSecret("bob", "password", "\n")
		}, v1alpha1.ReasonCredentialMissing,
			`Secret shop/bob, key "password" is empty `+config+`; put the password there`),
		Entry("two lines in place of a password", "userPass", func(w *authMethod) {
			w.setSecret("bob", "password", canary+"\nmore\n")
		}, v1alpha1.ReasonInvalidSpec,
			`Secret shop/bob, key "password" holds more than one line `+config+`; put the password alone there`),
		Entry("two words in place of a secret ID", "appRole", func(w *authMethod) {
			w.setSecret("approle", "id", canary+" more")
		}, v1alpha1.ReasonInvalidSpec,
			`Secret shop/approle, key "id" holds white space or characters that a secret ID cannot have `+config+`; put the secret ID alone there`),
		Entry("a wrapping token in place of a secret ID", "appRole", func(w *authMethod) { w.setSecret("approle", "id", w.wrapping()) }, v1alpha1.ReasonInvalidSpec,
			`Secret shop/approle, key "id" holds a Vault token and no secret ID `+config+`; put a secret ID there, or set spec.auth.appRole.secretIDWrapped if it is a wrapping token`),
		Entry("a role ID with a space", "appRole", func(w *authMethod) {
			w.config.Spec.Auth.AppRole.RoleID = "a b"
		}, v1alpha1.ReasonInvalidSpec,
			"spec.auth.appRole: roleID: is empty or holds white space; write the role ID alone (VaultConfig shop/prod, auth appRole)"),
		Entry("no certificate", "cert", func(w *authMethod) {
			w.setSecret("tls", "tls.crt", "none")
		}, v1alpha1.ReasonCredentialMissing,
			`Secret shop/tls has no key "tls.key" `+config+`; add it`),
		Entry("a certificate without its key", "cert", func(w *authMethod) {
			certificate, _ := server.ClientCertificate("sallyport")
			_, key := server.ClientCertificate("sallyport")
			w.setSecretData("tls", map[string][]byte{"tls.crt": []byte(certificate), "tls.key": []byte(key)})
		}, v1alpha1.ReasonInvalidSpec,
			"spec.auth.cert.clientCertificateSecretRef: Secret shop/tls holds no PEM certificate with the key that belongs to it "+config+"; put both there as PEM, tls.crt and tls.key of the same pair"),
		Entry("no such service account", "kubernetes", func(w *authMethod) {
			w.config.Spec.Auth.Kubernetes.ServiceAccountName = "none"
		}, v1alpha1.ReasonCredentialMissing,
			"service account shop/none does not exist (VaultConfig shop/prod, auth kubernetes role app); create it, or correct spec.auth.kubernetes.serviceAccountName"),
		Entry("a service account that Sallyport may make no token for", "jwt", func(w *authMethod) {
			nobody, err := kubernetes.NewForConfig(forbidden(theAPIServer()))
			Expect(err).NotTo(HaveOccurred())
			w.newSessions(session.Options{Kubernetes: nobody})
		}, v1alpha1.ReasonCredentialMissing,
			"Sallyport may not make a token for service account shop/app (VaultConfig shop/prod, auth jwt role app); "+
				"bind the ClusterRole sallyport-credentials to its service account in namespace shop"),
		Entry("neither a service account nor a workload", "jwt", func(w *authMethod) { w.config.Spec.Auth.JWT.ServiceAccountName = "" }, v1alpha1.ReasonInvalidSpec,
			"spec.auth.jwt: set exactly one of serviceAccountName and workload: true (VaultConfig shop/prod, auth jwt role app)"),
		Entry("an audience of the API server", "kubernetes", func(w *authMethod) {
			w.config.Spec.Auth.Kubernetes.Audience = strings.TrimSuffix(theAPIServer().Config.Host, "/") + "/"
		}, v1alpha1.ReasonInvalidSpec,
			`spec.auth.kubernetes.audience: "https://api/" is an audience of the API server (VaultConfig shop/prod, auth kubernetes role app); name one of Vault's own, such as vault: a token for this one would open Kubernetes to whoever receives it`),

		// What is wrong in Vault.
		Entry("kubernetes: no such mount", "kubernetes", func(w *authMethod) {
			w.config.Spec.Auth.Kubernetes.Mount = "none"
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/none/login → 403 no auth method is mounted there (VaultConfig shop/prod, auth kubernetes role app); enable it in Vault, or correct spec.auth.kubernetes.mount"),
		Entry("jwt: no such mount", "jwt", func(
			w *authMethod,
		) {
			w.config.Spec.Auth.JWT.Mount = "none"
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/none/login → 403 no auth method is mounted there (VaultConfig shop/prod, auth jwt role app); enable it in Vault, or correct spec.auth.jwt.mount"),
		Entry("appRole: no such mount", "appRole", func(w *authMethod) {
			w.config.Spec.Auth.AppRole.Mount = "none"
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/none/login → 403 no auth method is mounted there (VaultConfig shop/prod, auth appRole); enable it in Vault, or correct spec.auth.appRole.mount"),
		Entry("userPass: no such mount", "userPass", func(w *authMethod) {
			w.config.Spec.Auth.UserPass.Mount = "none"
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/none/login/bob → 403 no auth method is mounted there (VaultConfig shop/prod, auth userPass user bob); enable it in Vault, or correct spec.auth.userPass.mount"),
		Entry("cert: no such mount", "cert", func(w *authMethod) {
			w.config.Spec.Auth.Cert.Mount = "none"
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/none/login → 403 no auth method is mounted there (VaultConfig shop/prod, auth cert role app); enable it in Vault, or correct spec.auth.cert.mount"),
		Entry("kubernetes: no such role", "kubernetes", func(w *authMethod) {
			w.config.Spec.Auth.Kubernetes.Role = "none"
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/MOUNT/login → 400 there is no such role (VaultConfig shop/prod, auth kubernetes role none); create it in Vault, or correct spec.auth.kubernetes.role"),
		Entry("kubernetes: another audience", "kubernetes", func(w *authMethod) {
			w.config.Spec.Auth.Kubernetes.Audience = "other"
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/MOUNT/login → 403 the role demands another audience than other (VaultConfig shop/prod, auth kubernetes role app); set the same in the role and in spec.auth.kubernetes.audience"),
		Entry("kubernetes: another service account", "kubernetes", func(w *authMethod) {
			w.config.Spec.Auth.Kubernetes.ServiceAccountName = "other"
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/MOUNT/login → 403 the role does not allow service account shop/other (VaultConfig shop/prod, auth kubernetes role app); let its bound_service_account_names, bound_service_account_namespaces and audience allow it"),
		Entry("kubernetes: not configured", "kubernetes", func(w *authMethod) {
			server.DisableAuth(w.mount)
			server.EnableAuth(w.mount, "kubernetes")
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/MOUNT/login → 400 there is no such role (VaultConfig shop/prod, auth kubernetes role app); create it in Vault, or correct spec.auth.kubernetes.role"),
		Entry("kubernetes: Vault may not review", "kubernetes", func(w *authMethod) {
			server.Write("auth/"+w.mount+"/config", map[string]any{"kubernetes_host": theAPIServer().Config.Host,
				"kubernetes_ca_cert": string(theAPIServer().Config.CAData), "disable_local_ca_jwt": true})
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/MOUNT/login → 403 Vault could not have the token of service account shop/app reviewed, or its role does not allow it (VaultConfig shop/prod, auth kubernetes role app); let the role's bound_service_account_names, bound_service_account_namespaces and audience allow it (audience vault), and Vault create tokenreviews at the API server that auth/MOUNT/config names"),
		Entry("jwt: no such role", "jwt", func(
			w *authMethod,
		) {
			w.config.Spec.Auth.JWT.Role = "none"
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/MOUNT/login → 400 there is no such role (VaultConfig shop/prod, auth jwt role none); create it in Vault, or correct spec.auth.jwt.role"),
		Entry("jwt: another audience", "jwt", func(w *authMethod) {
			w.config.Spec.Auth.JWT.Audience = "other"
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/MOUNT/login → 400 the role demands another audience than other (VaultConfig shop/prod, auth jwt role app); set the same in the role and in spec.auth.jwt.audience"),
		Entry("jwt: another service account", "jwt", func(w *authMethod) {
			w.config.Spec.Auth.JWT.ServiceAccountName = "other"
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/MOUNT/login → 400 the role does not accept the token of service account shop/other (VaultConfig shop/prod, auth jwt role app); check its bound_subject, bound_claims and bound_audiences (audience vault) and auth/MOUNT/config"),
		Entry("jwt: not configured", "jwt", func(w *authMethod) {
			server.DisableAuth(w.mount)
			server.EnableAuth(w.mount, "jwt")
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/MOUNT/login → 400 the auth method is not configured (VaultConfig shop/prod, auth jwt role app); write auth/MOUNT/config in Vault"),
		Entry("appRole: wrong role ID", "appRole", func(w *authMethod) {
			w.config.Spec.Auth.AppRole.RoleID = "none"
		}, v1alpha1.ReasonAuthFailed,
			`POST auth/MOUNT/login → 400 there is no such role ID, or the secret ID is wrong, used up or expired (VaultConfig shop/prod, auth appRole); put a new secret ID into Secret shop/approle, key "id", or correct spec.auth.appRole.roleID; it is tried again at once when one of these changes, and else rarely enough for nobody to be locked out`),
		Entry("appRole: wrong secret ID", "appRole", func(w *authMethod) {
			w.setSecret("approle", "id", canary+"none")
		}, v1alpha1.ReasonAuthFailed,
			`POST auth/MOUNT/login → 400 there is no such role ID, or the secret ID is wrong, used up or expired (VaultConfig shop/prod, auth appRole); put a new secret ID into Secret shop/approle, key "id", or correct spec.auth.appRole.roleID; it is tried again at once when one of these changes, and else rarely enough for nobody to be locked out`),
		Entry("userPass: no such user", "userPass", func(w *authMethod) {
			w.config.Spec.Auth.UserPass.Username = "none"
		}, v1alpha1.ReasonAuthFailed,
			`POST auth/MOUNT/login/none → 400 wrong user name or password (VaultConfig shop/prod, auth userPass user none); put the right password into Secret shop/bob, key "password", or correct spec.auth.userPass.username; it is tried again at once when one of these changes, and else rarely enough for nobody to be locked out`),
		Entry("userPass: wrong password", "userPass", func(w *authMethod) {
			w.setSecret("bob", "password", canary+"wrong")
		}, v1alpha1.ReasonAuthFailed,
			`POST auth/MOUNT/login/bob → 400 wrong user name or password (VaultConfig shop/prod, auth userPass user bob); put the right password into Secret shop/bob, key "password", or correct spec.auth.userPass.username; it is tried again at once when one of these changes, and else rarely enough for nobody to be locked out`),
		Entry("userPass: a locked user", "userPass", func(w *authMethod) {
			for range 6 {
				_, _ = server.Client().Logical().Write("auth/"+w.mount+"/login/bob", map[string]any{"password": "wrong"})
			}
		}, v1alpha1.ReasonAuthFailed,
			`POST auth/MOUNT/login/bob → 403 the user is locked after too many wrong passwords, or may not log in from here (VaultConfig shop/prod, auth userPass user bob); unlock it (sys/locked-users) or wait, and put the right password into Secret shop/bob, key "password"; it is tried again now and then`),
		Entry("ldap: no such user", "ldap", func(w *authMethod) {
			w.config.Spec.Auth.LDAP.Username = "none"
		}, v1alpha1.ReasonAuthFailed,
			`POST auth/MOUNT/login/none → 400 wrong user name or password (VaultConfig shop/prod, auth ldap user none); put the right password into Secret shop/bob, key "password", or correct spec.auth.ldap.username; it is tried again at once when one of these changes, and else rarely enough for nobody to be locked out`),
		Entry("ldap: wrong password", "ldap", func(w *authMethod) {
			w.setSecret("bob", "password", canary+"wrong")
		}, v1alpha1.ReasonAuthFailed,
			`POST auth/MOUNT/login/bob → 400 wrong user name or password (VaultConfig shop/prod, auth ldap user bob); put the right password into Secret shop/bob, key "password", or correct spec.auth.ldap.username; it is tried again at once when one of these changes, and else rarely enough for nobody to be locked out`),
		Entry("ldap: no LDAP server", "ldap", func(w *authMethod) {
			server.Write("auth/"+w.mount+"/config", map[string]any{"url": "ldap://127.0.0.1:1"})
		}, v1alpha1.ReasonVaultError,
			"POST auth/MOUNT/login/bob → 500 an error inside Vault (VaultConfig shop/prod, auth ldap user bob); Vault's own log says more, and whether it reaches its LDAP server"),
		Entry("cert: a certificate that the role does not accept", "cert", func(w *authMethod) { w.setCertificate("somebody") }, v1alpha1.ReasonAuthFailed,
			"POST auth/MOUNT/login → 400 Vault does not accept the client certificate (VaultConfig shop/prod, auth cert role app); let role app accept it (certificate, allowed_common_names, …), correct spec.auth.cert.role, or put a certificate that the role accepts into Secret shop/tls"),
		Entry("cert: no such role", "cert", func(
			w *authMethod,
		) {
			w.config.Spec.Auth.Cert.Role = "none"
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/MOUNT/login → 400 Vault does not accept the client certificate (VaultConfig shop/prod, auth cert role none); let role none accept it (certificate, allowed_common_names, …), correct spec.auth.cert.role, or put a certificate that the role accepts into Secret shop/tls"),
		Entry("cert: through a proxy that ends TLS", "cert", func(w *authMethod) {
			w.config.Spec.URL = proxy.URL()
		}, v1alpha1.ReasonAuthFailed,
			"POST auth/MOUNT/login → 400 Vault saw no client certificate (VaultConfig shop/prod, auth cert role app); connect to Vault itself and not through a proxy that ends TLS, and let its listener take client certificates"),
	)

	It("tells a clock that is wrong from a role that is", func(ctx context.Context) {
		w := newAuthMethod(ctx, "jwt", "", terms{})
		for _, text := range []string{
			"error validating token: invalid expiration time (exp) claim: token is expired",
			"error validating token: invalid not before (nbf) claim: token not yet valid",
			"error validating token: invalid issued at (iat) claim: token issued at a future time",
		} {
			// Vault's own words; its clock and the API server's are one here, so that they cannot come from it.
			proxy.Heal()
			proxy.Inject(
				env.Fault{
					Path: "auth/" + w.mount, Status: 400, ContentType: "application/json", Body: `{"errors":["` + text + `"]}`,
				},
			)
			w.config.Generation++
			w.config.Spec.Auth.JWT.Role += "x"
			_, err := w.sessions.For(ctx, w.config)
			Expect(w.said(err, v1alpha1.ReasonAuthFailed)).To(And(ContainSubstring("→ 400 the token's time does not fit Vault's clock"),
				HaveSuffix("set the clocks of Vault's and the API server's machines right")))
		}
	})
})
