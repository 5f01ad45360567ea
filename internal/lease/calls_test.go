package lease

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/pipes"
)

func TestCallsAreBoundedByLaneByNamespaceAndInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		c := newCalls()
		var mu sync.Mutex
		held := map[string]int{}
		holds := func(namespace string) int {
			mu.Lock()
			defer mu.Unlock()
			return held[namespace]
		}
		hold := func(namespace, vault string) {
			go func() {
				release, err := c.acquire(t.Context(), lane{namespace: namespace, vault: vault})
				if err == nil {
					mu.Lock()
					held[namespace]++
					mu.Unlock()
					time.Sleep(time.Hour)
					release()
				}
			}()
			synctest.Wait()
		}
		for range 3 * maxCallsOfLane {
			hold("one", "hung")
		}
		g.Expect(holds("one")).To(Equal(maxCallsOfLane))
		for vault := range 10 {
			for range maxCallsOfLane {
				hold("two", fmt.Sprint(vault))
			}
		}
		g.Expect(holds("two")).To(Equal(maxCallsOfNamespace))
		hold("one", "another")
		g.Expect(holds("one")).To(Equal(maxCallsOfLane+1), "another Vault of the namespace is not held up, nor another namespace")

		ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
		defer cancel()
		_, err := c.acquire(ctx, lane{namespace: "one", vault: "hung"})
		g.Expect(fault.Is(err, v1alpha1.ReasonVaultUnreachable)).To(BeTrue())
		g.Expect(fault.From(err).Class).To(Equal(fault.ClassTransient))
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		g.Expect(c.lanes.Len()).To(BeZero())
		g.Expect(c.namespaces.Len()).To(BeZero())
	})
}

// A node waits 25 seconds for a replica; three requests that time out one after the other would be more.
func TestLeasesOfAVaultThatHangsTakeOneDeadlineTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		hung := make(chan struct{})
		server, listener := pipes.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-hung
		}))
		t.Cleanup(server.Close)
		t.Cleanup(func() { close(hung) })
		scheme := runtime.NewScheme()
		g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
		g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
		hanging := builder.VaultConfig("shop", "main", builder.WithURL(server.URL), func(c *v1alpha1.VaultConfig) { c.UID = "config" })
		secret := builder.TokenSecret("shop", hanging.Spec.Auth.Token.SecretKeyRef.Name, "token")
		objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(hanging, secret).Build()
		sessions, err := session.NewSessions(session.Options{
			Reader: objects, AllowedURLs: []string{server.URL}, Networks: networks.Within(listener.Dial),
		})
		g.Expect(err).NotTo(HaveOccurred())
		_, keys := keyStore()
		m := NewManager(Options{
			Objects: objects, Uncached: objects, Sessions: sessions, Secrets: keys, Clock: clock.RealClock{}, Log: logr.Discard(),
		})
		volume := Volume{ID: "csi-1", PodUID: "uid", PodName: "web", Namespace: "shop", Node: "node"}
		var issued []DynamicSecret
		for i := range 3 * maxCallsOfLane {
			d := dynamicSecret(fmt.Sprint(i), fmt.Sprint(i), time.Hour, true, session.TokenTerm{})
			d.Config = hanging
			issued = append(issued, d)
		}
		v := &VolumeLeases{Volume: volume}
		v.Update(nil, issued, time.Now())

		began := time.Now()
		m.Renew(t.Context(), v, nil)
		g.Expect(time.Since(began)).To(Equal(callTimeout))
		g.Expect(v.Leases).To(HaveLen(len(issued)), "silence says nothing about a lease")

		encrypted, err := m.encryption.encrypt(t.Context(), v)
		g.Expect(err).NotTo(HaveOccurred())
		began = time.Now()
		err = m.RevokeVolume(t.Context(), encrypted, "node", false)
		g.Expect(time.Since(began)).To(Equal(callTimeout))
		g.Expect(fault.Is(err, v1alpha1.ReasonVaultUnreachable)).To(BeTrue(), "%v", err)

		// A VaultConfig that is made again leads to the same Vault, which is asked; one that leads elsewhere is not.
		asked := func(change func(*v1alpha1.VaultConfig)) error {
			g.Expect(objects.Delete(t.Context(), hanging.DeepCopy())).To(Succeed())
			again := hanging.DeepCopy()
			again.ResourceVersion = ""
			change(again)
			g.Expect(objects.Create(t.Context(), again)).To(Succeed())
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			return m.RevokeVolume(ctx, encrypted, "node", false)
		}
		err = asked(func(c *v1alpha1.VaultConfig) { c.UID = "another" })
		g.Expect(fault.Is(err, v1alpha1.ReasonVaultUnreachable)).To(BeTrue(), "%v", err)
		err = asked(func(c *v1alpha1.VaultConfig) { c.UID, c.Spec.URL = "third", "https://elsewhere.example.com" })
		g.Expect(fault.Is(err, v1alpha1.ReasonConfigNotFound)).To(BeTrue(), "%v", err)
	})
}
