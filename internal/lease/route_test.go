package lease

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/test/builder"
)

// The namespace was deleted while no controller ran: nobody knows the VaultConfig, its CA or its login any more. What a
// real Vault does then shows test/integration/lease_test.go; here, with what and to whom it is said.
func TestLeasesOfAVaultConfigThatNobodyRemembersAreRevokedWithTheirOwnToken(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Header.Get("X-Vault-Token")+" "+strings.TrimPrefix(r.URL.Path, "/v1/"))
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/revoke") {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.WriteHeader(http.StatusForbidden) // the token may do nothing else, not even look itself up
		_, _ = w.Write([]byte(`{"errors":["permission denied"]}`))
	}))
	t.Cleanup(server.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	foreign := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(foreign.Close)
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(corev1.AddToScheme(scheme)).To(Succeed())
	NewWithT(t).Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	forgotten := builder.VaultConfig("shop", "main", builder.WithURL(server.URL))
	for name, test := range map[string]struct {
		route   *session.Route
		allowed []string
		revoked bool
		reason  string
	}{
		"the route is kept":                     {&session.Route{URL: server.URL, CACertificate: ca}, nil, true, ""},
		"none is":                               {nil, nil, false, v1alpha1.ReasonConfigNotFound},
		"the server is another by now":          {&session.Route{URL: foreign.URL, CACertificate: "-"}, nil, false, v1alpha1.ReasonInvalidSpec},
		"an administrator does not allow it":    {&session.Route{URL: server.URL, CACertificate: ca}, []string{"https://vault.example.com"}, false, v1alpha1.ReasonInvalidSpec},
		"its certificate was trusted for other": {&session.Route{URL: server.URL, CACertificate: ca, ServerName: "vault.example.org"}, nil, false, v1alpha1.ReasonTLSFailed},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			seen = nil
			none := fake.NewClientBuilder().WithScheme(scheme).Build()
			sessions, err := session.NewSessions(session.Options{Reader: none, AllowedURLs: test.allowed})
			g.Expect(err).NotTo(HaveOccurred())
			_, keys := keyStore()
			m := NewManager(Options{
				Objects: none, Uncached: none, Sessions: sessions, Secrets: keys, Clock: clock.RealClock{}, Log: logr.Discard(),
			})
			d := dynamicSecret("a", "s", time.Hour, true, session.TokenTerm{ID: "one", ExpireTime: time.Now().Add(time.Hour)})
			d.Config = forgotten
			d.Issued.LeaseToken = session.LeaseToken{Token: transport.NewToken("hvs.own"), ID: "one", Way: "way", Route: test.route}
			v := &VolumeLeases{Volume: Volume{ID: "csi-1", PodUID: "uid", Node: "node", Namespace: "shop"}}
			v.Update([]string{"s"}, []DynamicSecret{d}, time.Now())
			v.Update([]string{"s"}, nil, time.Now())
			encrypted, err := m.encryption.encrypt(t.Context(), v)
			g.Expect(err).NotTo(HaveOccurred())

			err = m.RevokeVolume(t.Context(), encrypted, "node", false)
			if test.revoked {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(seen).To(Equal([]string{"hvs.own sys/leases/revoke"}))
				return
			}
			g.Expect(fault.Is(err, test.reason)).To(BeTrue(), "%v", err)
			g.Expect(seen).To(BeEmpty())
		})
	}
}

func TestAVolumeKeepsEachRouteOnce(t *testing.T) {
	g := NewWithT(t)
	v := &VolumeLeases{}
	issued := func(key, token, way string) DynamicSecret {
		d := dynamicSecret(key, key, time.Hour, true, session.TokenTerm{ID: token, ExpireTime: noon.Add(time.Hour)})
		d.Issued.LeaseToken = session.LeaseToken{
			Token: transport.NewToken(token), ID: token, Way: way, Route: &session.Route{URL: "https://" + way},
		}
		return d
	}
	var all []DynamicSecret
	var keys []string
	for key := range strings.SplitSeq("abcdefghijklmnopqrst", "") {
		keys, all = append(keys, key), append(all, issued(key, "token-"+key, "way-"+key))
	}
	v.Update([]string{"a", "b"}, []DynamicSecret{issued("a", "one", "way"), issued("b", "two", "way")}, noon)
	g.Expect(v.Routes).To(HaveLen(1))
	for range 2 {
		for i := range v.Leases {
			g.Expect(v.token(&v.Leases[i]).route).To(HaveField("URL", "https://way"))
		}
		v.Update([]string{"a", "b"}, nil, noon)
	}
	v.Update(nil, nil, noon)
	g.Expect(v.Routes).To(HaveLen(1), "until they are revoked")
	v.Leases = nil
	v.Update(nil, nil, noon)
	g.Expect(v.Routes).To(BeEmpty())
	v.Update(keys, all, noon)
	g.Expect(v.Routes).To(HaveLen(maxRoutes), "the state comes with each request")
	g.Expect(client.ObjectKeyFromObject(config)).To(Equal(v.Leases[0].Config))
}
