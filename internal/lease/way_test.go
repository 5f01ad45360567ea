package lease

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/builder"
)

// A VaultConfig of the same name and URL may trust another authority and go over another proxy: whoever wrote it need
// have no right to the login of the one before.
func TestTheTokenOfALeaseIsNotSentOnAnotherWay(t *testing.T) {
	for name, accepts := range map[string]bool{"the server accepts the own token": true, "the server refuses it": false} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			seen := map[string][]string{}
			fakeVault := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				seen[r.Header.Get("X-Vault-Token")] = append(seen[r.Header.Get("X-Vault-Token")], r.URL.Path)
				mu.Unlock()
				w.Header().Set("Content-Type", "application/json")
				if !accepts && r.Header.Get("X-Vault-Token") == "its-own" {
					w.WriteHeader(http.StatusForbidden)
					_, _ = w.Write([]byte(`{"errors":["permission denied"]}`))
					return
				}
				_, _ = w.Write([]byte(`{"request_id":"1","data":{"ttl":3600,"renewable":true},"auth":{"client_token":"t","lease_duration":3600,"renewable":true}}`))
			}))
			defer fakeVault.Close()
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				up, err := net.Dial("tcp", fakeVault.Listener.Addr().String())
				if err != nil {
					return
				}
				conn, _, _ := w.(http.Hijacker).Hijack()
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
				go func() { _, _ = io.Copy(up, conn); _ = up.Close() }()
				_, _ = io.Copy(conn, up)
				_ = conn.Close()
			}))
			defer proxy.CloseClientConnections()

			const url = "https://example.com:8200" // the real one
			original := builder.VaultConfig("shop", "main", builder.WithURL(url), func(c *v1alpha1.VaultConfig) {
				c.UID = "original"
				c.Spec.Auth = v1alpha1.VaultAuth{} // logged in with a service account that not everybody may use
			})
			ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: fakeVault.Certificate().Raw}))
			hostile := builder.VaultConfig("shop", "main", builder.WithAddress(url, ca), builder.WithTokenSecret("mine"), func(c *v1alpha1.VaultConfig) {
				c.UID = "hostile"
				c.Spec.Proxy = &v1alpha1.VaultProxy{URL: proxy.URL}
			})
			scheme := runtime.NewScheme()
			_ = corev1.AddToScheme(scheme)
			_ = v1alpha1.AddToScheme(scheme)
			objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(hostile, builder.TokenSecret("shop", "mine", "its-own")).Build()
			sessions, err := session.NewSessions(session.Options{Reader: objects}) // flags as shipped: none
			if err != nil {
				t.Fatal(err)
			}
			m := NewManager(Options{Objects: objects, Uncached: objects, Sessions: sessions, Clock: clock.RealClock{}, Log: logr.Discard()})
			now := time.Now()
			v := &VolumeLeases{
				Volume: Volume{ID: "csi-1", PodUID: "p", PodName: "web", Namespace: "shop", Node: "n"},
				Leases: []Lease{{
					Name: "a", SecretKey: "s", Config: client.ObjectKeyFromObject(original), Vault: session.VaultOf(original),
					LeaseID: "database/creds/app/1", Renewable: true, Duration: time.Hour, Since: now, Expires: now.Add(time.Hour),
					TokenID: "victim", TokenSince: now.Add(-50 * time.Minute), TokenExpires: now.Add(10 * time.Minute),
				}},
				Tokens: map[string]Token{"victim": {Value: "hvs.VICTIM", TTL: time.Hour, Way: session.WayTo(original)}},
			}
			m.Renew(t.Context(), v, nil)
			mu.Lock()
			defer mu.Unlock()
			if paths := seen["hvs.VICTIM"]; len(paths) > 0 {
				t.Errorf("another server was sent the victim's token hvs.VICTIM with %q", paths)
			}
		})
	}
}
