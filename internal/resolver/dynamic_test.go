package resolver

import (
	"fmt"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

func TestWhatIsCalledCredsButMakesNothingIsComparedByItsContent(t *testing.T) {
	g := NewWithT(t)
	var password atomic.Int64
	var reads atomic.Int64
	e := hostileEngine(t, func(path string) string {
		if path == "engine/creds/leased" {
			return `{"request_id":"r","lease_id":"engine/creds/leased/1","lease_duration":60,"data":{"token":"t"}}`
		}
		reads.Add(1)
		return fmt.Sprintf(`{"request_id":"r","data":{"username":"app","password":"p%d"}}`, password.Load())
	})
	connection := builder.Connection("shop", "db", map[string]any{
		"username": "vault.secret(ad.username)", "password": "vault.secret(ad.password)", "token": "vault.secret(own.token)",
	},
		builder.WithSecrets(builder.VaultSecret("ad", "creds/app"), builder.VaultSecret("own", "creds/leased")),
		builder.WithShortestRefresh, func(c *v1alpha1.Connection) {
			for i := range c.Spec.VaultSecrets {
				c.Spec.VaultSecrets[i].EnginePath = "engine"
			}
		})
	file := func(resolved *Resolved, name string) string {
		for _, f := range resolved.Files {
			if f.Path == name {
				return string(f.Content)
			}
		}
		return ""
	}

	resolved, err := e.Resolve(t.Context(), connection, Volume{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(file(resolved, "password")).To(Equal("p0"))
	g.Expect(resolved.Issued).To(HaveLen(1), "only what has a lease is the volume's own")
	g.Expect(resolved.SecretKeys).To(HaveLen(1))
	g.Expect(resolved.Digests).To(HaveLen(1))
	g.Expect(reads.Load()).To(BeEquivalentTo(1), "the answer that showed it is used")
	held := Volume{Revision: resolved.Revision, Files: resolved.Digests,
		LeaseNames: map[string]string{resolved.Issued[0].SecretKey: resolved.Issued[0].Name}}

	again, err := e.Resolve(t.Context(), connection, held)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again.Unchanged).To(BeTrue())
	g.Expect(reads.Load()).To(BeEquivalentTo(1), "within the interval")

	password.Store(1)
	e.Changed(Place(configURL(t, e), "", "engine/creds/app")) // as if the interval were over
	rotated, err := e.Resolve(t.Context(), connection, held)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(file(rotated, "password")).To(Equal("p1"))
	g.Expect(rotated.Issued).To(BeEmpty(), "the volume goes on with what it holds")
	g.Expect(rotated.Revision).NotTo(Equal(resolved.Revision))

	other := hostileEngine(t, func(string) string {
		return `{"request_id":"r","data":{"username":"app","password":"p1","token":"t"}}`
	})
	elsewhere, err := other.Resolve(t.Context(), connection, Volume{Revision: rotated.Revision})
	g.Expect(err).NotTo(HaveOccurred(), "a replica that has not seen it yet finds out by itself")
	g.Expect(elsewhere.Issued).To(BeEmpty())
	g.Expect(file(elsewhere, "password")).To(Equal("p1"))
}

// configURL is that of the VaultConfig "main".
func configURL(t *testing.T, e *Engine) string {
	t.Helper()
	config, err := e.Config(t.Context(), "shop", v1alpha1.VaultConfigReference{Name: "main"})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return config.Spec.URL
}
