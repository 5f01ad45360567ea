package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// withHeader gives a VaultConfig headers.
func withHeader(headers ...v1alpha1.VaultHeader) func(*v1alpha1.VaultConfig) {
	return func(c *v1alpha1.VaultConfig) { c.Spec.Headers = headers }
}

var _ = Describe("A Vault below a path of a gateway that wants a header", func() {
	It("is used for everything: health, logins, secrets, tasks, also by a Vault that stands in one", func() {
		namespace, key, password := newNamespace(), canary(), canary()
		gateway, err := env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(gateway.Close)
		gateway.Below("/team/vault")
		var mu sync.Mutex
		lacking := map[string]bool{}
		gateway.Observe(func(r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if r.Header.Get("X-Api-Key") != key || r.Header.Get("X-Tenant") != "shop" {
				lacking[r.Method+" "+r.URL.Path] = true
			}
		})
		headers := []v1alpha1.VaultHeader{
			{Name: "X-Tenant", Value: "shop"},
			{Name: "X-Api-Key", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "gateway", Key: "key"}},
		}
		create(builder.Secret(namespace, "gateway", map[string]string{"key": key}))
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
		config := vault.Config(namespace, "main", builder.WithURL(gateway.URL()), withHeader(headers...))
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(config.Status.Vault.Version).NotTo(BeEmpty())

		vault.PutKV("secret/data/"+namespace+"/db", map[string]any{"password": password})
		connection := builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/db"))
		create(connection)
		expectCondition(connection, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		response, err := mountEventually(newCaller(replica), newPod(namespace, map[string]string{"connection": "db"}))
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(HaveKeyWithValue("password", password))

		write := builder.VaultTask(namespace, "write", v1alpha1.OperationWrite, namespace+"/new", builder.WithData(map[string]v1alpha1.TaskValue{"user": "scott"}))
		inline := builder.VaultTask(namespace, "inline", v1alpha1.OperationRead, namespace+"/db", func(t *v1alpha1.VaultTask) {
			t.Spec.EnginePath = "secret"
			t.Spec.TaskTarget = v1alpha1.TaskTarget{Vault: &v1alpha1.InlineVault{
				URL: config.Spec.URL, CACertificate: config.Spec.CACertificate, Headers: headers, Auth: config.Spec.Auth,
			}}
		})
		create(write, inline)
		for _, task := range []*v1alpha1.VaultTask{write, inline} {
			expectCondition(task, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		}
		Expect(gateway.Counts()).To(And(HaveKey("GET sys/health"), HaveKey("GET auth/token/lookup-self"), HaveKey("GET secret/data/"+namespace+"/db"),
			HaveKey("POST secret/data/"+namespace+"/new")))
		mu.Lock()
		defer mu.Unlock()
		Expect(lacking).To(BeEmpty())
	})

	It("is not reached without, and says that something else answers", func() {
		namespace := newNamespace()
		gateway, err := env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(gateway.Close)
		gateway.Below("/team/vault")
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
		config := vault.Config(namespace, "main", builder.WithURL(strings.TrimSuffix(gateway.URL(), "/team/vault")))
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonVaultUnreachable, ContainSubstring("answered, but not as Vault does: status 404"))
		longer := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"url":%q}}`, gateway.URL()+"/v1"))
		Expect(cp.Client.Patch(ctx, config.DeepCopy(), longer, client.DryRunAll)).To(MatchError(ContainSubstring("leave out everything from /v1 or /ui on")))
		update(config, func(c *v1alpha1.VaultConfig) { c.Spec.URL = gateway.URL() })
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})
})
