package vaultconfig

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/pipes"
)

// reconciled returns a look at a VaultConfig of a server, and what it left in status. A look waits for shortWait only: in
// a bubble all that does not hang is faster.
func reconciled(t *testing.T, answer http.HandlerFunc) func() (ctrl.Result, *v1alpha1.VaultConfigStatus) {
	t.Helper()
	_, look := reconcilerOf(t, answer)
	return look
}

// reconcilerOf returns the Reconciler as well.
func reconcilerOf(
	t *testing.T, answer http.HandlerFunc, options ...func(*v1alpha1.VaultConfig),
) (*Reconciler, func() (ctrl.Result, *v1alpha1.VaultConfigStatus)) {
	t.Helper()
	g := NewWithT(t)
	server, listener := pipes.NewServer(answer)
	t.Cleanup(server.Close)
	scheme := runtime.NewScheme()
	g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	config := builder.VaultConfig("shop", "main", builder.WithURL(server.URL), func(c *v1alpha1.VaultConfig) { c.UID = "config" })
	secret := builder.TokenSecret("shop", config.Spec.Auth.Token.SecretKeyRef.Name, "token")
	for _, option := range options {
		option(config)
	}
	objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(config, secret).WithStatusSubresource(config).Build()
	sessions, err := session.NewSessions(session.Options{
		Reader: objects, AllowedURLs: []string{server.URL}, Networks: networks.Within(listener.Dial),
	})
	g.Expect(err).NotTo(HaveOccurred())
	r := NewReconciler(objects, sessions, events.NewFakeRecorder(100), clock.RealClock{})
	return r, func() (ctrl.Result, *v1alpha1.VaultConfigStatus) {
		result, _ := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(config)})
		found := &v1alpha1.VaultConfig{}
		g.Expect(objects.Get(t.Context(), client.ObjectKeyFromObject(config), found)).To(Succeed())
		return result, &found.Status
	}
}

func TestAVaultWhoseLoginHangsKeepsNoWorkerAtTheFirstLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		look := reconciled(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/sys/health" {
				<-r.Context().Done()
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"initialized":true,"version":"1.21.1"}`))
		})
		began := time.Now()
		result, status := look()
		g.Expect(time.Since(began)).To(Equal(shortWait))
		g.Expect(result.RequeueAfter).To(Equal(resultPause))
		g.Expect(status.Conditions).To(BeEmpty())
		_, status = look()
		g.Expect(time.Since(began)).To(Equal(10*time.Second), "the next one waits for the login that is under way")
		g.Expect(meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady).Reason).To(Equal(v1alpha1.ReasonVaultUnreachable))
	})
}

// TestAVaultWhoseHealthHangsKeepsNoWorker: when a leader starts, all VaultConfigs are looked at, and whoever comes
// after the Vaults that hang would wait for them.
func TestAVaultWhoseHealthHangsKeepsNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		look := reconciled(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		start := time.Now()
		for {
			began := time.Now()
			result, status := look()
			g.Expect(time.Since(began)).To(BeNumerically("<=", shortWait))
			ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
			if ready != nil {
				g.Expect(ready.Reason).To(Equal(v1alpha1.ReasonVaultUnreachable))
				g.Expect(ready.Message).To(ContainSubstring("time-out after 5s"))
				break
			}
			g.Expect(result.RequeueAfter).To(Equal(resultPause))
			g.Expect(time.Since(start)).To(BeNumerically("<", 10*time.Second), "in the end it is said")
			time.Sleep(result.RequeueAfter)
		}
	})
}

func TestAResultThatNeverStandsLongEnoughIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		r, look := reconcilerOf(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		_, status := look()
		g.Expect(status.Conditions).To(BeEmpty())
		r.pending.Range(func(key, _ any) bool {
			r.pending.Store(key, time.Now().Add(-patience)) // so busy were the workers
			return true
		})
		_, status = look()
		g.Expect(meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady).Reason).To(Equal(v1alpha1.ReasonVaultUnreachable))
	})
}

func TestHealthThatIsHiddenIsNotBad(t *testing.T) {
	// What Vault's own answers to requests with a token look like, behind a front end that keeps sys/ to itself.
	const token = `{"request_id":"1","data":{"ttl":3600,"creation_ttl":3600,"renewable":true,"expire_time":"2099-01-01T00:00:00Z","policies":["app"]}}`
	page := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = w.Write([]byte("<html>"))
		}
	}
	answers := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, test := range map[string]struct {
		sys, login       http.HandlerFunc
		reason, sentence string
		reachable        bool
	}{
		"a page that forbids it, and a login that works": {page(403), answers(200, token), v1alpha1.ReasonSucceeded, "not known", true},
		"JSON of its own that forbids it":                {answers(403, `{"errors":["no"]}`), answers(200, token), v1alpha1.ReasonSucceeded, "not known", true},
		"nothing there":                                  {page(404), answers(200, token), v1alpha1.ReasonSucceeded, "not known", true},
		"a login page": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/sso", http.StatusFound) },
			answers(200, token), v1alpha1.ReasonSucceeded, "not known", true},
		"a quota":                         {answers(429, `{"errors":["quota"]}`), answers(200, token), v1alpha1.ReasonRateLimited, "429", false},
		"a page for everything":           {page(404), page(404), v1alpha1.ReasonVaultUnreachable, "not as Vault does", false},
		"a Vault that does not serve":     {page(404), answers(503, `{"errors":["Vault is sealed"]}`), v1alpha1.ReasonVaultError, "503", false},
		"a front end that does not reach": {page(502), answers(200, token), v1alpha1.ReasonVaultUnreachable, "502", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				look := reconciled(t, func(w http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(r.URL.Path, "/v1/sys/") {
						test.sys(w, r)
						return
					}
					test.login(w, r)
				})
				_, status := look()
				ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
				g.Expect(ready.Reason).To(Equal(test.reason), ready.Message)
				g.Expect(ready.Message).To(ContainSubstring(test.sentence))
				g.Expect(meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady)).To(Equal(test.reachable))
				g.Expect(meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReachable)).To(Equal(test.reachable))
				g.Expect(status.Vault).To(BeNil())
			})
		})
	}
}

// Where only pods log in, no login of the controller can show that Vault serves.
func TestHealthThatIsHiddenIsNotBadWherePodsLogIn(t *testing.T) {
	answers := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	const json, html = "application/json", "text/html"
	unsupported := answers(405, json, `{"errors":["1 error occurred:\n\t* unsupported operation\n\n"]}`) // as Vault does
	for name, test := range map[string]struct {
		sys, login       http.HandlerFunc
		reason, sentence string
	}{
		"the auth method answers":             {answers(403, html, "<html>"), unsupported, v1alpha1.ReasonSucceeded, "not known"},
		"a page for everything":               {answers(404, html, "<html>"), answers(404, html, "<html>"), v1alpha1.ReasonVaultUnreachable, "not as Vault does"},
		"a front end that forbids everything": {answers(403, json, `{"errors":["no"]}`), answers(403, json, `{"errors":["no"]}`), v1alpha1.ReasonVaultUnreachable, "neither sys/health nor the path of logins is let through"},
		"no such mount":                       {answers(403, html, "<html>"), answers(403, json, `{"errors":["permission denied"]}`), v1alpha1.ReasonVaultUnreachable, "or no auth method is mounted there"},
		"a Vault that does not serve":         {answers(404, html, "<html>"), answers(503, json, `{"errors":["Vault is sealed"]}`), v1alpha1.ReasonVaultError, "503"},
		"a front end that does not reach it":  {answers(502, html, "<html>"), unsupported, v1alpha1.ReasonVaultUnreachable, "502"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				_, look := reconcilerOf(t, func(w http.ResponseWriter, r *http.Request) {
					switch {
					case strings.HasPrefix(r.URL.Path, "/v1/sys/"):
						test.sys(w, r)
					case r.Method == http.MethodGet && r.URL.Path == "/v1/auth/pods/login":
						g.Expect(r.Header.Get("X-Vault-Token")).To(BeEmpty())
						test.login(w, r)
					default:
						t.Errorf("%s %s", r.Method, r.URL.Path)
					}
				}, func(c *v1alpha1.VaultConfig) {
					c.Spec.Auth = v1alpha1.VaultAuth{Kubernetes: &v1alpha1.ServiceAccountAuth{Mount: "pods", Role: "any", Workload: new(true)}}
				})
				_, status := look()
				ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
				g.Expect(ready.Reason).To(Equal(test.reason), ready.Message)
				g.Expect(ready.Message).To(ContainSubstring(test.sentence))
				for _, condition := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionReachable} {
					g.Expect(meta.IsStatusConditionTrue(status.Conditions, condition)).To(Equal(test.reason == v1alpha1.ReasonSucceeded))
				}
				g.Expect(status.Vault).To(BeNil())
			})
		})
	}
}

func TestAVaultConfigSaysWithWhatPodsStartMeanwhile(t *testing.T) {
	g := NewWithT(t)
	config := builder.VaultConfig("shop", "main")
	sealed := unableToServe(config, transport.Health{Initialized: true, Sealed: true})
	g.Expect(withOutage(config, sealed)).To(BeIdenticalTo(sealed))
	config.Spec.Outage = &v1alpha1.VaultOutage{ServeFor: &metav1.Duration{Duration: time.Hour}}
	g.Expect(withOutage(config, sealed)).To(MatchError(HaveSuffix(
		"unseal it; meanwhile pods may start with secrets that were read in the last 1h0m0s (spec.outage.serveFor)")))
	secondary := unableToServe(config, transport.Health{Initialized: true, Secondary: true})
	g.Expect(withOutage(config, secondary)).To(BeIdenticalTo(secondary), "that Vault answers")
	g.Expect(withOutage(config, nil)).To(Succeed())
}

func TestANamespaceOfAVaultThatHasNoneIsRefused(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.VaultConfig){
		"that the controller logs in to": func(*v1alpha1.VaultConfig) {},
		"that pods log in to": func(c *v1alpha1.VaultConfig) {
			c.Spec.Auth = v1alpha1.VaultAuth{Kubernetes: &v1alpha1.ServiceAccountAuth{Role: "any", Workload: new(true)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				_, look := reconcilerOf(t, func(w http.ResponseWriter, r *http.Request) {
					g.Expect(r.URL.Path).To(Equal("/v1/sys/health"), "nothing else is asked")
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write([]byte(`{"initialized":true,"version":"1.21.1","enterprise":false}`))
				}, func(c *v1alpha1.VaultConfig) { c.Spec.VaultNamespace = "team-a" }, change)
				_, status := look()
				ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
				g.Expect(ready.Status).To(Equal(metav1.ConditionFalse))
				g.Expect(ready.Reason).To(Equal(v1alpha1.ReasonInvalidSpec))
				g.Expect(ready.Message).To(And(HavePrefix(`spec.vaultNamespace "team-a": Vault at `), ContainSubstring("has no namespaces"),
					HaveSuffix("leave it out, or let spec.url name a Vault that has namespaces")))
				g.Expect(meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReachable)).To(BeTrue(), "it answered")
				g.Expect(status.Vault.Version).To(Equal("1.21.1"))
				g.Expect(meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionStalled)).To(BeTrue())
			})
		})
	}
}

func TestAVaultBehindWhatIsWrongWithTheWayThereIsUnknown(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*v1alpha1.VaultConfig)
		reason string
	}{
		"an address that may not be used": {func(c *v1alpha1.VaultConfig) { c.Spec.URL = "https://elsewhere.example.com" }, v1alpha1.ReasonInvalidSpec},
		"a CA that is no certificate":     {func(c *v1alpha1.VaultConfig) { c.Spec.CACertificate = "garbage" }, v1alpha1.ReasonInvalidSpec},
		"a client certificate that is not there": {func(c *v1alpha1.VaultConfig) {
			c.Spec.TLS = &v1alpha1.VaultTLS{ClientCertificateSecretRef: &v1alpha1.TLSSecretReference{Name: "none"}}
		}, v1alpha1.ReasonCredentialMissing},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				_, look := reconcilerOf(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s", r.Method, r.URL.Path) }, test.change)
				_, status := look()
				for condition, value := range map[string]metav1.ConditionStatus{
					v1alpha1.ConditionReady: metav1.ConditionFalse, v1alpha1.ConditionReachable: metav1.ConditionUnknown,
					v1alpha1.ConditionAuthenticated: metav1.ConditionUnknown,
				} {
					found := meta.FindStatusCondition(status.Conditions, condition)
					g.Expect([]any{found.Status, found.Reason}).To(Equal([]any{value, test.reason}), condition)
				}
			})
		})
	}
}
