package vaultconfig

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

func TestAnEditOfAnyFieldIsSeen(t *testing.T) {
	former := builder.VaultConfig("shop", "main")
	for field := range builder.Edits(former.Spec) {
		t.Run(field, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				r, look := reconcilerOf(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					if strings.HasSuffix(r.URL.Path, "sys/health") {
						_, _ = w.Write([]byte(`{"initialized":true,"version":"1.21.1"}`))
						return
					}
					_, _ = w.Write([]byte(`{"request_id":"1","data":{"ttl":3600,"creation_ttl":3600,"expire_time":"2099-01-01T00:00:00Z"}}`))
				}, func(c *v1alpha1.VaultConfig) { c.Generation = 1 })
				seen := func(generation int64) {
					_, status := look()
					g.Expect(status.ObservedGeneration).To(Equal(generation))
					ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
					if ready == nil {
						ready = meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionSuspended)
					}
					g.Expect(ready.ObservedGeneration).To(Equal(generation))
				}
				seen(1)
				config := builder.VaultConfig("shop", "main")
				g.Expect(r.client.Get(t.Context(), client.ObjectKeyFromObject(config), config)).To(Succeed())
				config.Spec, config.Generation = builder.Edits(config.Spec)[field], 2
				g.Expect(r.client.Update(t.Context(), config)).To(Succeed())
				seen(2)
			})
		})
	}
}
