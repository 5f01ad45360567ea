package vault_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// canary begins every secret value that these specs put into Vault.
const canary = "canary-value-"

// as ends most sentences.
const as = "(VaultConfig shop/prod, auth token)"

var uids atomic.Int64

// fixture is one VaultConfig with its Secret, and sessions that read them.
type fixture struct {
	kubernetes client.Client
	clock      *clocktesting.FakePassiveClock
	sessions   *session.Sessions
	config     *v1alpha1.VaultConfig
	// secretReads counts how often a Secret or ConfigMap was read; kubernetesDown fails those reads.
	secretReads    atomic.Int64
	kubernetesDown atomic.Bool
	tokens         []string
}

// newFixture returns a VaultConfig shop/prod that reaches Vault through the proxy with a token of the policy "reader".
func newFixture(changes ...func(*v1alpha1.VaultConfig)) *fixture {
	f := &fixture{clock: clocktesting.NewFakePassiveClock(time.Now())}
	f.kubernetes = fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
		Get: func(
			ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption,
		) error {
			if f.kubernetesDown.Load() {
				return errors.New("connection refused")
			}
			f.secretReads.Add(1)
			return c.Get(ctx, key, object, options...)
		},
	}).Build()
	f.config = server.Config("shop", "prod", builder.WithURL(proxy.URL()), func(c *v1alpha1.VaultConfig) {
		c.Generation, c.UID, c.Spec.EnginePath = 1, types.UID(fmt.Sprintf("uid-%d", uids.Add(1))), ""
	}, builder.All(changes...))
	f.newSessions(session.Options{})
	DeferCleanup(func() {
		proxy.Heal()
		proxy.Reset()
	})
	proxy.Reset()
	f.setToken(f.token(env.TokenOptions{Policies: []string{"reader"}}))
	return f
}

// asEnterprise has Vault, which is the Community edition, say that it has namespaces.
func asEnterprise() {
	proxy.Inject(env.Fault{Path: "sys/health", Rewrite: func(body []byte) []byte {
		GinkgoHelper()
		Expect(body).To(ContainSubstring(`"enterprise":false`))
		return bytes.Replace(body, []byte(`"enterprise":false`), []byte(`"enterprise":true`), 1)
	}})
}

func (f *fixture) newSessions(options session.Options) {
	options.Reader, options.Clock = f.kubernetes, f.clock
	var err error
	f.sessions, err = session.NewSessions(options)
	Expect(err).NotTo(HaveOccurred())
}

// token makes a token that must not show up in anything that is said.
func (f *fixture) token(options env.TokenOptions) string {
	token := server.Token(options)
	f.tokens = append(f.tokens, token)
	return token
}

// setToken puts a value, with a line break as editors leave it, into the Secret shop/vault-token.
func (f *fixture) setToken(value string) { f.setSecret("vault-token", "token", value+"\n") }

func (f *fixture) setSecret(name, key, value string) {
	f.setSecretData(name, map[string][]byte{key: []byte(value)})
}

func (f *fixture) setSecretData(name string, data map[string][]byte) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Data: data}
	Expect(client.IgnoreNotFound(f.kubernetes.Delete(context.Background(), secret.DeepCopy()))).To(Succeed())
	Expect(f.kubernetes.Create(context.Background(), secret)).To(Succeed())
}

func (f *fixture) setConfigMap(name, key, value string) {
	configMap := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Data: map[string]string{key: value},
	}
	Expect(client.IgnoreNotFound(f.kubernetes.Delete(context.Background(), configMap.DeepCopy()))).To(Succeed())
	Expect(f.kubernetes.Create(context.Background(), configMap)).To(Succeed())
}

func (f *fixture) later(d time.Duration) { f.clock.SetTime(f.clock.Now().Add(d)) }

func (f *fixture) session(ctx context.Context) *session.Session {
	GinkgoHelper()
	session, err := f.sessions.For(ctx, f.config)
	Expect(err).NotTo(HaveOccurred())
	f.mute(session)
	return session
}

// said returns the sentence of a fault after checking its reason, and that no way of printing the error shows a secret.
func (f *fixture) said(err error, reason string) string {
	GinkgoHelper()
	var found *fault.Fault
	Expect(errors.As(err, &found)).To(BeTrue(), "%v is not a fault", err)
	Expect(found.Reason).To(Equal(reason), found.Message())
	for e := err; e != nil; e = errors.Unwrap(e) {
		f.mute(e)
	}
	return found.Message()
}

// mute checks that no way of printing a thing shows a token or a value.
func (f *fixture) mute(thing any) {
	GinkgoHelper()
	encoded, _ := json.Marshal(thing)
	texts := []string{string(encoded)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		texts = append(texts, fmt.Sprintf(verb, thing))
	}
	for _, text := range texts {
		Expect(text).NotTo(ContainSubstring(canary))
		Expect(text).NotTo(ContainSubstring(fmt.Sprintf("%x", canary)))
		for _, token := range f.tokens {
			Expect(strings.Contains(text, token)).To(BeFalse(), "a token shows in %T", thing)
		}
	}
}

// logins is how often Vault was asked about a token.
func logins() int { return proxy.Counts()["GET auth/token/lookup-self"] }
