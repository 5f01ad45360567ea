package resolver

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/builder"
)

// hostileEngine is an engine for the VaultConfig "main" in namespace shop, whose Vault is the tenant's own: it answers
// requests for secrets, by their paths, with what answer says.
func hostileEngine(t *testing.T, answer func(path string) string) *Engine {
	t.Helper()
	g := NewWithT(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch path := strings.TrimPrefix(r.URL.Path, "/v1/"); {
		case path == "auth/token/lookup-self":
			_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"ttl":3600,"renewable":true,"policies":["p"],"type":"service"}}`)
		case path == "sys/health":
			_, _ = fmt.Fprint(w, `{"initialized":true,"sealed":false,"standby":false,"version":"1.21.1"}`)
		case strings.HasPrefix(path, "sys/internal/ui/mounts/"):
			mount := strings.TrimPrefix(path, "sys/internal/ui/mounts/")
			_, _ = fmt.Fprintf(w, `{"request_id":"r","data":{"path":"%s/","type":"database"}}`, strings.SplitN(mount, "/", 2)[0])
		default:
			_, _ = fmt.Fprint(w, answer(path))
		}
	}))
	t.Cleanup(server.Close)
	scheme := apiruntime.NewScheme()
	g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	config := builder.VaultConfig("shop", "main", builder.WithURL(server.URL), func(c *v1alpha1.VaultConfig) { c.UID = "config" })
	token := builder.TokenSecret("shop", config.Spec.Auth.Token.SecretKeyRef.Name, "token")
	objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(config, token).Build()
	sessions, err := session.NewSessions(session.Options{Reader: objects, AllowedURLs: []string{server.URL}})
	g.Expect(err).NotTo(HaveOccurred())
	return NewEngine(objects, sessions, clock.RealClock{})
}

// written is a Connection that has so many dynamic secrets issued, each by a write.
func written(number int) *v1alpha1.Connection {
	value, attached := map[string]any{}, make([]v1alpha1.VaultSecret, number)
	for i := range attached {
		name := fmt.Sprintf("s%d", i)
		attached[i] = builder.VaultSecret(name, fmt.Sprintf("issue/%d", i))
		attached[i].EnginePath, attached[i].Method = "engine", v1alpha1.SecretMethodPost
		value[name] = "vault.secret(" + name + ".value)"
	}
	return builder.Connection("shop", "db", value, builder.WithSecrets(attached...))
}

func TestDynamicSecretsThatFindNoRoomAreGivenBack(t *testing.T) {
	g := NewWithT(t)
	e := hostileEngine(t, func(path string) string {
		return fmt.Sprintf(`{"request_id":"r","lease_id":%q,"lease_duration":60,"data":{"value":%q}}`, path, strings.Repeat("x", 3<<20))
	})
	leave, entered := e.gates.kept.TryEnter("shop", heap.KeptShare-4<<20)
	g.Expect(entered).To(BeTrue())
	resolved, err := e.Resolve(t.Context(), written(2), Volume{})
	g.Expect(fault.Is(err, v1alpha1.ReasonRateLimited)).To(BeTrue(), "requests of the namespace keep all that they may: %v", err)
	g.Expect(resolved.Issued).To(HaveLen(2), "both leases are the caller's to revoke")

	leave()
	_, entered = e.gates.kept.TryEnter("shop", heap.KeptShare)
	g.Expect(entered).To(BeTrue(), "a request that is over keeps nothing")
}

// literal is a Connection with one key of literal JSON.
func literal(namespace, value string) *v1alpha1.Connection {
	connection := builder.Connection(namespace, "literal", nil)
	connection.Spec.Value = map[string]apiextensionsv1.JSON{"z": {Raw: []byte(value)}}
	return connection
}

func TestAValueThatGrowsWhenItIsParsedIsRefusedBefore(t *testing.T) {
	g := NewWithT(t)
	e := newTestEngine()
	connection := literal("shop", "["+strings.Repeat("{},", 400_000)+"{}]")
	var before, after runtime.MemStats
	for name, use := range map[string]func() error{
		"checked": func() error { _, err := e.Check(t.Context(), connection, ""); return err },
		"mounted": func() error { _, err := e.Resolve(t.Context(), connection, Volume{}); return err },
		"used":    func() error { _, err := e.Values(t.Context(), connection); return err },
	} {
		runtime.ReadMemStats(&before)
		err := use()
		runtime.ReadMemStats(&after)
		g.Expect(fault.Is(err, v1alpha1.ReasonTooLarge)).To(BeTrue(), "%s: %v", name, err)
		g.Expect(fault.From(err).Class).To(Equal(fault.ClassTerminal), "its author has to change it")
		g.Expect(after.TotalAlloc-before.TotalAlloc).To(BeNumerically("<", 4<<20), "parsed it takes 150 MiB")
	}
	_, err := e.Resolve(t.Context(), literal("shop", `"`+strings.Repeat("x", 900_000)+`"`), Volume{})
	g.Expect(err).NotTo(HaveOccurred(), "a long text is what it is")
}

func TestRequestsUnderWayHaveAShareOfTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		e := newTestEngine()
		large := func(namespace string) *v1alpha1.Connection {
			return literal(namespace, `"`+strings.Repeat("x", 1_000_000)+`"`)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var under []*memory
		for {
			m, err := e.gates.begin(ctx, large("greedy"))
			if err != nil {
				g.Expect(fault.Is(err, v1alpha1.ReasonRateLimited)).To(BeTrue(), "%v", err)
				break
			}
			under = append(under, m)
		}
		g.Expect(len(under)).To(BeNumerically("~", 3, 1))
		_, err := e.Resolve(t.Context(), large("other"), Volume{})
		g.Expect(err).NotTo(HaveOccurred())
		for _, m := range under {
			m.release()
		}
		_, err = e.Resolve(t.Context(), large("greedy"), Volume{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(e.gates.work.Inside("greedy") + e.gates.making.Inside("greedy")).To(BeZero())
	})
}
