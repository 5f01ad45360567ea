package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// terraformCloud answers what Vault's terraform engine asks for the token of an organisation, which has one at a time. It
// returns what that is now.
func terraformCloud() (url string, current func() string) {
	var mu sync.Mutex
	token := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.api+json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/ping"):
			w.WriteHeader(http.StatusNoContent)
			return
		case r.Method != http.MethodPost:
			_, _ = fmt.Fprint(w, `{"data":{"id":"shop","type":"organizations","attributes":{"name":"shop"}}}`)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		token = canary()
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"data":{"id":"at-1","type":"authentication-tokens","attributes":{"token":%q}}}`, token)
	}))
	DeferCleanup(server.Close)
	return server.URL, func() string {
		mu.Lock()
		defer mu.Unlock()
		return token
	}
}

var _ = Describe("A Connection with a path that is called creds, and makes nothing", func() {
	It("is compared with what Vault has there now, and is the same for all volumes", func() {
		const engine = "terraform-shared"
		url, current := terraformCloud()
		vault.Mount(engine, "terraform")
		DeferCleanup(func() { vault.Unmount(engine) })
		vault.Write(engine+"/config", map[string]any{"address": url, "token": canary()})
		vault.Write(engine+"/role/shop", map[string]any{"organization": "shop", "credential_type": "organization"})
		vault.Policy("terraform-shared", `path "`+engine+`/creds/*" { capabilities = ["read"] }`)
		namespace := newNamespace()
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"terraform-shared"}})
		create(vault.Config(namespace, "main"))
		c := builder.Connection(namespace, "terraform", map[string]any{"token": "vault.secret(token)"},
			builder.WithSecret("creds/shop"), builder.WithShortestRefresh, func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].EnginePath = engine })
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		caller := newCaller(replica)
		mounted := func() *leasedVolume {
			return newLeasedVolume(newPod(namespace, map[string]string{"connection": "terraform"})).mounted(caller)
		}
		one, two := mounted(), mounted()
		former := current()
		Expect(former).NotTo(BeEmpty())
		Expect([]string{one.files["token"], two.files["token"]}).To(HaveEach(former))
		Expect(one.after).To(BeNumerically("<=", 5*time.Second))

		vault.Create(engine + "/rotate-role/shop")
		Expect(current()).NotTo(Equal(former))
		for _, v := range []*leasedVolume{one, two} {
			Eventually(func(g Gomega) {
				g.Expect(v.resolve(caller)).To(Succeed())
				g.Expect(v.files["token"]).To(Equal(current()))
			}).Should(Succeed())
		}
	})
})
