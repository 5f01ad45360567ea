package resolver

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/builder"
)

// outageFixture is a VaultConfig shop/main with a Vault that a test can take away.
type outageFixture struct {
	t       *testing.T
	objects client.Client
	clock   *clocktesting.FakePassiveClock
	engine  *Engine
	config  *v1alpha1.VaultConfig
	// secretReads are those from Kubernetes.
	secretReads atomic.Int32

	mu sync.Mutex
	// spoil answers in Vault's place, by path; it is false for what Vault answers itself.
	spoil func(w http.ResponseWriter, path string) bool
}

func newOutageFixture(t *testing.T, serveFor time.Duration) *outageFixture {
	t.Helper()
	g := NewWithT(t)
	f := &outageFixture{t: t, clock: clocktesting.NewFakePassiveClock(time.Now())}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	scheme := apiruntime.NewScheme()
	g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	f.config = builder.VaultConfig("shop", "main", builder.WithURL(server.URL), func(c *v1alpha1.VaultConfig) {
		c.UID, c.Generation, c.Spec.EnginePath = "config", 1, "kv"
		c.Spec.AllowedNamespaces = []v1alpha1.NamespaceGrant{{Names: []v1alpha1.NamespaceName{"other"}, PathPrefixes: []v1alpha1.PathPrefix{"kv"}}}
		if serveFor > 0 {
			c.Spec.Outage = &v1alpha1.VaultOutage{ServeFor: &metav1.Duration{Duration: serveFor}}
		}
	})
	token := builder.TokenSecret("shop", f.config.Spec.Auth.Token.SecretKeyRef.Name, "token")
	f.objects = fake.NewClientBuilder().WithScheme(scheme).WithObjects(f.config, token).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if _, is := object.(*corev1.Secret); is {
				f.secretReads.Add(1)
			}
			return c.Get(ctx, key, object, options...)
		},
	}).Build()
	sessions, err := session.NewSessions(session.Options{Reader: f.objects, AllowedURLs: []string{server.URL}, Clock: f.clock})
	g.Expect(err).NotTo(HaveOccurred())
	f.engine = NewEngine(f.objects, sessions, f.clock)
	return f
}

func (f *outageFixture) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	f.mu.Lock()
	spoil := f.spoil
	f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if spoil != nil && spoil(w, path) {
		return
	}
	switch {
	case path == "auth/token/lookup-self":
		_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"ttl":3600,"renewable":true,"policies":["p"],"type":"service"}}`)
	case path == "sys/health":
		_, _ = fmt.Fprint(w, `{"initialized":true,"sealed":false,"standby":false,"version":"1.21.1"}`)
	case path == "sys/internal/ui/mounts/kv":
		_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"path":"kv/","type":"kv","options":{"version":"2"}}}`)
	case strings.HasPrefix(path, "sys/internal/ui/mounts/database"):
		_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"path":"database/","type":"database"}}`)
	case path == "database/creds/app":
		_, _ = fmt.Fprint(w, `{"request_id":"r","lease_id":"database/creds/app/1","lease_duration":60,"data":{"password":"made"}}`)
	case path == "database/static-creds/app":
		_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"password":"rotated","ttl":600,"last_vault_rotation":"2026-01-01T00:00:00Z"}}`)
	default:
		_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"data":{"password":"p","user":"u"},"metadata":{"version":3}}}`)
	}
}

func (f *outageFixture) spoiled(spoil func(w http.ResponseWriter, path string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spoil = spoil
}

// takeAway has Vault hang up on everybody.
func (f *outageFixture) takeAway() {
	f.spoiled(func(http.ResponseWriter, string) bool { panic(http.ErrAbortHandler) })
}

// answer has it answer requests for a path, or all if that is empty, with this.
func (f *outageFixture) answer(at string, status int, body string) {
	f.spoiled(func(w http.ResponseWriter, path string) bool {
		if at != "" && path != at {
			return false
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
		return true
	})
}

func (f *outageFixture) later(d time.Duration) { f.clock.SetTime(f.clock.Now().Add(d)) }

func (f *outageFixture) mount(connection *v1alpha1.Connection) (*Resolved, error) {
	return f.engine.Resolve(f.t.Context(), connection, Volume{})
}

func (f *outageFixture) edit(change func(*v1alpha1.VaultConfig)) {
	f.t.Helper()
	config := &v1alpha1.VaultConfig{}
	g := NewWithT(f.t)
	g.Expect(f.objects.Get(f.t.Context(), client.ObjectKeyFromObject(f.config), config)).To(Succeed())
	change(config)
	config.Generation++
	g.Expect(f.objects.Update(f.t.Context(), config)).To(Succeed())
}

// passwordOf is a Connection with the key password of a secret.
func passwordOf(namespace, path string, changes ...func(*v1alpha1.Connection)) *v1alpha1.Connection {
	secret := builder.VaultSecret("s", path)
	secret.VaultConfigRef = v1alpha1.VaultConfigReference{Name: "main", Namespace: "shop"}
	return builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(s.password)"}, builder.WithSecrets(secret), builder.All(changes...))
}

func inDatabase(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].EnginePath = "database" }

func TestPodsStartWithWhatWasReadWhileVaultIsAway(t *testing.T) {
	const hour = time.Hour
	sealed := func(f *outageFixture) {
		f.spoiled(func(w http.ResponseWriter, path string) bool {
			if path == "sys/health" {
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = fmt.Fprint(w, `{"initialized":true,"sealed":true,"standby":true,"version":"1.21.1"}`)
				return true
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = fmt.Fprint(w, `{"errors":["Vault is sealed"]}`)
			return true
		})
	}
	away := (*outageFixture).takeAway
	denied := func(path string) func(*outageFixture) {
		return func(f *outageFixture) {
			f.answer(path, http.StatusForbidden, `{"errors":["permission denied"]}`)
			f.later(2 * time.Minute)
			_, _ = f.mount(passwordOf("shop", "db"))
			f.takeAway()
			f.later(10 * time.Minute) // a login is tried again
		}
	}
	for name, test := range map[string]struct {
		serveFor time.Duration
		// before is mounted while Vault is there, after while it is not; by default the same.
		before, after *v1alpha1.Connection
		then          func(*outageFixture)
		reason        string // of the refusal; empty: served
		says          string // of what is told, also if served
	}{
		"at once":                              {serveFor: hour, then: away, says: v1alpha1.ReasonVaultUnreachable},
		"when all that was known of it is due": {serveFor: hour, then: func(f *outageFixture) { away(f); f.later(59 * time.Minute) }, says: v1alpha1.ReasonVaultUnreachable},
		"when its token has died":              {serveFor: 3 * hour, then: func(f *outageFixture) { away(f); f.later(2 * hour) }, says: v1alpha1.ReasonVaultUnreachable},
		"while it is sealed":                   {serveFor: hour, then: sealed, says: v1alpha1.ReasonVaultSealed},
		"behind a gateway that says so":        {serveFor: hour, then: func(f *outageFixture) { f.answer("", http.StatusBadGateway, `<html>`) }, says: v1alpha1.ReasonVaultUnreachable},
		"after others asked for less of it":    {serveFor: hour, before: passwordOf("shop", "db", userToo), then: func(f *outageFixture) { _, _ = f.mount(passwordOf("shop", "db")); away(f) }, says: v1alpha1.ReasonVaultUnreachable},
		"of a static role, before it rotates":  {serveFor: hour, before: passwordOf("shop", "static-creds/app", inDatabase), then: func(f *outageFixture) { away(f); f.later(9 * time.Minute) }, says: v1alpha1.ReasonVaultUnreachable},
		"of a static role, after it rotates":   {serveFor: hour, before: passwordOf("shop", "static-creds/app", inDatabase), then: func(f *outageFixture) { away(f); f.later(11 * time.Minute) }, reason: v1alpha1.ReasonVaultUnreachable},
		"without serveFor":                     {then: away, reason: v1alpha1.ReasonVaultUnreachable},
		"when it is older":                     {serveFor: hour, then: func(f *outageFixture) { away(f); f.later(61 * time.Minute) }, reason: v1alpha1.ReasonVaultUnreachable},
		"of another secret":                    {serveFor: hour, after: passwordOf("shop", "other"), then: away, reason: v1alpha1.ReasonVaultUnreachable},
		"of another version":                   {serveFor: hour, after: passwordOf("shop", "db", func(c *v1alpha1.Connection) { v := int64(2); c.Spec.VaultSecrets[0].Version = &v }), then: away, reason: v1alpha1.ReasonVaultUnreachable},
		"of another key":                       {serveFor: hour, after: passwordOf("shop", "db", userToo), then: away, reason: v1alpha1.ReasonVaultUnreachable},
		"for another namespace":                {serveFor: hour, after: passwordOf("other", "db"), then: away, reason: v1alpha1.ReasonVaultUnreachable},
		"that is dynamic":                      {serveFor: hour, before: passwordOf("shop", "creds/app", inDatabase), then: away, reason: v1alpha1.ReasonVaultUnreachable},
		"that Vault has refused since":         {serveFor: hour, then: denied("kv/data/db"), reason: v1alpha1.ReasonVaultUnreachable},
		"that is gone since": {serveFor: hour, then: func(f *outageFixture) {
			f.answer("kv/data/db", 404, `{"errors":[]}`)
			_, _ = f.mount(passwordOf("shop", "db"))
			away(f)
		}, reason: v1alpha1.ReasonVaultUnreachable},
		"when whoever reads it is refused": {serveFor: hour, before: passwordOf("shop", "elsewhere"), then: denied(""), reason: v1alpha1.ReasonVaultUnreachable},
		"when something before it refuses": {serveFor: hour, then: func(f *outageFixture) { f.answer("", http.StatusForbidden, `<html>`) }, reason: v1alpha1.ReasonVaultUnreachable},
		"when Vault itself is broken":      {serveFor: hour, then: func(f *outageFixture) { f.answer("kv/data/db", 500, `{"errors":["no storage"]}`) }, reason: v1alpha1.ReasonVaultError},
		"that Sallyport has changed since": {serveFor: hour, then: func(f *outageFixture) { f.engine.Changed(Place(f.config.Spec.URL, "", "kv/data/db")); away(f) }, reason: v1alpha1.ReasonVaultUnreachable},
		"when the VaultConfig was edited":  {serveFor: hour, then: func(f *outageFixture) { away(f); f.edit(func(c *v1alpha1.VaultConfig) { c.Spec.VaultNamespace = "x" }) }, reason: v1alpha1.ReasonVaultUnreachable},
		"when the VaultConfig is disabled": {serveFor: hour, then: func(f *outageFixture) {
			away(f)
			f.edit(func(c *v1alpha1.VaultConfig) { no := false; c.Spec.Enabled = &no })
		}, reason: v1alpha1.ReasonConfigDisabled},
		"when others may use it no more": {serveFor: hour, before: passwordOf("other", "db"), then: func(f *outageFixture) {
			away(f)
			f.edit(func(c *v1alpha1.VaultConfig) { c.Spec.AllowedNamespaces = nil })
		}, reason: v1alpha1.ReasonNamespaceNotAllowed},
		"when others may":                        {serveFor: hour, before: passwordOf("other", "db"), then: away, says: v1alpha1.ReasonVaultUnreachable},
		"when the token was replaced":            {serveFor: hour, then: func(f *outageFixture) { away(f); f.setToken("another") }, reason: v1alpha1.ReasonVaultUnreachable},
		"when the token was replaced long ago":   {serveFor: hour, then: func(f *outageFixture) { away(f); f.setToken("another"); f.later(2 * time.Minute) }, reason: v1alpha1.ReasonVaultUnreachable},
		"when the token was taken away":          {serveFor: hour, then: func(f *outageFixture) { away(f); f.setToken(""); f.later(2 * time.Minute) }, reason: v1alpha1.ReasonCredentialMissing},
		"when the token was taken away just now": {serveFor: hour, then: func(f *outageFixture) { away(f); f.setToken("") }, reason: v1alpha1.ReasonVaultUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := newOutageFixture(t, test.serveFor)
			before := test.before
			if before == nil {
				before = passwordOf("shop", "db")
			}
			after := test.after
			if after == nil {
				after = before
			}
			there, err := f.mount(before)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(there.FromMemory).To(Equal(FromMemory{}))
			read := f.clock.Now()
			test.then(f)
			served, err := f.mount(after)
			if test.reason != "" {
				g.Expect(fault.Is(err, test.reason)).To(BeTrue(), "%v", err)
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(contents(served)).To(Equal(contents(there)))
			g.Expect(served.Revision).To(Equal(there.Revision), "what it has is what Vault has, as far as is known")
			g.Expect(served.FromMemory.Fault.Reason).To(Equal(test.says))
			g.Expect(served.FromMemory.Read).To(BeTemporally("<=", read))

			_, err = f.engine.Resolve(t.Context(), after, Volume{Revision: served.Revision})
			f.later(10 * time.Minute)
			if err == nil { // the version of the last read may be young enough
				_, err = f.engine.Resolve(t.Context(), after, Volume{Revision: served.Revision})
			}
			g.Expect(fault.Is(err, test.says)).To(BeTrue(), "a mounted volume keeps what it has, and is not told that all is well: %v", err)
		})
	}
}

// A login that another credential was made with in the meantime says nothing of what the former one may read.
func TestWhatWasReadWhileTheCredentialChangedIsNotKept(t *testing.T) {
	g := NewWithT(t)
	f := newOutageFixture(t, time.Hour)
	changed := false
	f.spoiled(func(_ http.ResponseWriter, path string) bool {
		if path == "kv/data/db" && !changed {
			changed = true
			f.setToken("another")
			f.later(2 * time.Minute)
			_, err := f.engine.sessions.For(context.Background(), f.config)
			g.Expect(err).NotTo(HaveOccurred())
		}
		return false
	})
	_, err := f.mount(passwordOf("shop", "db"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(changed).To(BeTrue())
	f.takeAway()
	_, err = f.mount(passwordOf("shop", "db"))
	g.Expect(fault.Is(err, v1alpha1.ReasonVaultUnreachable)).To(BeTrue(), "%v", err)
}

// Nobody caches Secrets: each look is a request to the API server, and a Connection may have many secrets.
func TestTheCredentialIsLookedAtOnceForAllSecrets(t *testing.T) {
	g := NewWithT(t)
	f := newOutageFixture(t, time.Hour)
	value := map[string]any{}
	var attached []v1alpha1.VaultSecret
	for i := range 20 {
		name := fmt.Sprintf("s%d", i)
		secret := builder.VaultSecret(name, name)
		secret.VaultConfigRef = v1alpha1.VaultConfigReference{Name: "main"}
		attached, value[name] = append(attached, secret), "vault.secret("+name+".password)"
	}
	connection := builder.Connection("shop", "db", value, builder.WithSecrets(attached...))
	_, err := f.mount(connection)
	g.Expect(err).NotTo(HaveOccurred())
	f.takeAway()
	before := f.secretReads.Load()
	served, err := f.mount(connection)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(contents(served)).To(HaveLen(20))
	g.Expect(f.secretReads.Load() - before).To(Equal(int32(1)))
}

func TestNobodyPosingAsVaultEndsWhatIsKept(t *testing.T) {
	g := NewWithT(t)
	f := newOutageFixture(t, time.Hour)
	_, err := f.mount(passwordOf("shop", "db"))
	g.Expect(err).NotTo(HaveOccurred())
	failed := func(reason string) {
		p, failure := newPlan("shop", passwordOf("shop", "db").Spec.VaultSecrets,
			[]expression.Placed{{Reference: expression.Reference{Secret: "s", Key: "password"}}})
		g.Expect(failure).NotTo(HaveOccurred())
		p.findConfigs(t.Context(), f.engine.access)
		p.sources[0].err = fault.Waiting(reason, "so")
		f.engine.reader.heed(p, nil)
	}
	failed(v1alpha1.ReasonTLSFailed)
	f.takeAway()
	_, err = f.mount(passwordOf("shop", "db"))
	g.Expect(err).NotTo(HaveOccurred())
	failed(v1alpha1.ReasonPermissionDenied)
	_, err = f.mount(passwordOf("shop", "db"))
	g.Expect(fault.Is(err, v1alpha1.ReasonVaultUnreachable)).To(BeTrue(), "%v", err)
}

func TestAnEditOrTheEndOfAVaultConfigEndsWhatIsKept(t *testing.T) {
	g := NewWithT(t)
	f := newOutageFixture(t, time.Hour)
	_, err := f.mount(passwordOf("shop", "db"))
	g.Expect(err).NotTo(HaveOccurred())
	f.takeAway()
	f.engine.ForgetConfig(f.config.UID)
	_, err = f.mount(passwordOf("shop", "db"))
	g.Expect(fault.Is(err, v1alpha1.ReasonVaultUnreachable)).To(BeTrue(), "%v", err)
}

func userToo(c *v1alpha1.Connection) {
	c.Spec.Value = builder.JSON(map[string]any{"password": "vault.secret(s.password)", "user": "vault.secret(s.user)"})
}

// setToken changes the token in the Secret; without text the Secret goes.
func (f *outageFixture) setToken(text string) {
	f.t.Helper()
	g := NewWithT(f.t)
	secret := builder.TokenSecret("shop", f.config.Spec.Auth.Token.SecretKeyRef.Name, text)
	g.Expect(f.objects.Delete(f.t.Context(), secret)).To(Succeed())
	if text != "" {
		secret.ResourceVersion = ""
		g.Expect(f.objects.Create(f.t.Context(), secret)).To(Succeed())
	}
}
