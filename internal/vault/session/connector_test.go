package session

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/test/builder"
)

// trusting is a VaultConfig with a password, whose CA stands in a ConfigMap, and its Vault, which counts logins and
// tokens that are given back.
type trusting struct {
	*WithT
	ctx             context.Context //nolint:containedctx // of the test
	config          *v1alpha1.VaultConfig
	objects         client.Client
	clock           *clocktesting.FakePassiveClock
	sessions        *Sessions
	authority       string
	logins, revoked atomic.Int32
	// meets is called when the ConfigMap is read.
	meets atomic.Pointer[func()]
}

func newTrusting(t *testing.T) *trusting {
	t.Helper()
	f := &trusting{WithT: NewWithT(t), ctx: t.Context(), clock: clocktesting.NewFakePassiveClock(time.Now())}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/sys/health":
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"initialized":true,"sealed":false,"standby":false,"version":"1.21.0"}`)
			return
		case "/v1/auth/userpass/login/bob":
			f.logins.Add(1)
		case "/v1/auth/token/revoke-self":
			f.revoked.Add(1)
		}
		respond(w)
	}))
	t.Cleanup(server.Close)
	f.authority = certificateOf(server)
	scheme := runtime.NewScheme()
	f.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	f.objects = fake.NewClientBuilder().WithScheme(scheme).
		WithObjects(builder.Secret("shop", "pw", map[string]string{"password": "right"}), f.bundle(f.authority)).
		WithInterceptorFuncs(interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
				_, isBundle := o.(*corev1.ConfigMap)
				if meet := f.meets.Load(); meet != nil && isBundle {
					(*meet)()
				}
				return c.Get(ctx, key, o, options...)
			},
		}).Build()
	f.config = builder.VaultConfig("shop", "main", builder.WithURL(server.URL), func(c *v1alpha1.VaultConfig) {
		c.UID, c.Generation = "config", 1
		c.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{
			ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "ca", Key: "ca.crt"},
		}
	}, builder.WithAuth(v1alpha1.VaultAuth{UserPass: &v1alpha1.PasswordAuth{
		Username: "bob", PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: "pw", Key: "password"},
	}}))
	var err error
	f.sessions, err = NewSessions(Options{Reader: f.objects, Clock: f.clock})
	f.Expect(err).NotTo(HaveOccurred())
	return f
}

func (f *trusting) bundle(certificates string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "ca"}, Data: map[string]string{"ca.crt": certificates},
	}
}

func (f *trusting) later(d time.Duration) { f.clock.SetTime(f.clock.Now().Add(d)) }

// together runs functions at once, of which so many go on reading the ConfigMap only when all of these have begun.
func (f *trusting) together(readers int32, all ...func()) {
	var arrived atomic.Int32
	every := make(chan struct{})
	f.meets.Store(new(func() {
		if arrived.Add(1) == readers {
			close(every)
		}
		select {
		case <-every:
		case <-time.After(time.Minute):
		}
	}))
	var done sync.WaitGroup
	for _, one := range all {
		done.Go(one)
	}
	done.Wait()
	f.meets.Store(nil)
	f.Expect(arrived.Load()).To(BeNumerically(">=", readers), "they did not overlap")
}

// TestTwoConnectsAtOnceEndInOneConn: whoever compares the way of a login with that of the next look must not find two
// that are the same.
func TestTwoConnectsAtOnceEndInOneConn(t *testing.T) {
	f := newTrusting(t)
	session, err := f.sessions.set.session(f.config, nil) // transports that no session uses are dropped
	f.Expect(err).NotTo(HaveOccurred())
	c := session.holder.connector
	connectTwice := func() *transport.Conn {
		var conns [2]*transport.Conn
		var errs [2]error
		f.together(2,
			func() { conns[0], errs[0] = c.connect(f.ctx, true) },
			func() { conns[1], errs[1] = c.connect(f.ctx, false) })
		f.Expect(errs).To(HaveEach(BeNil()))
		f.Expect(conns[0]).To(BeIdenticalTo(conns[1]))
		f.Expect(c.latest()).To(BeIdenticalTo(conns[0]))
		return conns[0]
	}
	first := connectTwice()

	f.later(recheckInterval)
	f.Expect(f.objects.Update(f.ctx, f.bundle(f.authority))).To(Succeed())
	f.Expect(connectTwice()).To(BeIdenticalTo(first), "the same certificates, written again")

	f.later(recheckInterval)
	f.Expect(f.objects.Update(f.ctx, f.bundle(f.authority+"\n"+f.authority))).To(Succeed())
	f.Expect(connectTwice()).NotTo(BeIdenticalTo(first))
}

// TestTwoConnectsAtOnceAreOneSessionAndOneLogin: a look at Vault's health and a login come at once when a VaultConfig is
// new, and whenever its CA is due to be read again.
func TestTwoConnectsAtOnceAreOneSessionAndOneLogin(t *testing.T) {
	f := newTrusting(t)
	var held *Session
	use := func() {
		var sessions [3]*Session
		var errs [4]error
		one := func(i int) func() { return func() { sessions[i], errs[i] = f.sessions.For(f.ctx, f.config) } }
		health := func() { _, errs[3] = f.sessions.Health(f.ctx, f.config) }
		f.together(2, one(0), health, one(1), one(2))
		f.Expect(errs).To(HaveEach(BeNil()))
		f.Expect(sessions).To(HaveEach(BeIdenticalTo(sessions[0])))
		if held == nil {
			held = sessions[0]
		}
		f.Expect(sessions[0]).To(BeIdenticalTo(held))
		f.Expect(f.logins.Load()).To(BeEquivalentTo(1))
		f.Expect(f.revoked.Load()).To(BeZero())
	}
	use()
	term := held.TokenTerm()
	for _, bundle := range []string{
		f.authority,                      // as it was
		f.authority,                      // written again
		f.authority + "\n" + f.authority, // rotated
		f.authority,                      // and back
	} {
		f.later(recheckInterval)
		f.Expect(f.objects.Update(f.ctx, f.bundle(bundle))).To(Succeed())
		use()
		f.later(recheckInterval)
		use()
		f.Expect(held.TokenTerm()).To(Equal(term), "the token is kept")
	}
}
