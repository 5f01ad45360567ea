package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A roll-out of the controller", Serial, func() {
	It("moves no condition, logs in once for each replica at most, and leaves no token of those that are gone", func(ctx SpecContext) {
		expectProductReady(ctx)
		t := newReadyTenant(ctx)
		mount := "userpass-" + t.namespace
		path := "auth/" + mount + "/login/bob"
		login := t.withLogin(ctx, mount)
		value := newSecret("password")
		t.put(ctx, "db", map[string]any{"password": value})
		secret := t.secretAt("db")
		secret.VaultConfigRef.Name = login.Name
		connection := t.connection("db", map[string]any{"password": "vault.secret(password)"}, secret)
		create(ctx, connection)
		expectReady(ctx, connection)
		pod := t.run(ctx, "db")
		static := t.vaultConfig(mainConfig)
		expectReady(ctx, static)
		Expect(livingTokens(ctx, path, time.Time{})).To(BeNumerically(">=", 1))
		conditions := map[client.Object][]metav1.Condition{
			login: login.Status.Conditions, static: static.Status.Conditions, connection: connection.Status.Conditions,
		}

		began := time.Now()
		rollController(ctx)

		By("the new replicas serve the volume, and the new leader has looked at everything")
		value = newSecret("password, changed after the roll-out")
		t.put(ctx, "db", map[string]any{"password": value})
		Eventually(ctx, func() (string, error) { return read(pod, "password") }).WithTimeout(atLast).Should(Equal(value))
		version := int64(2)
		Eventually(ctx, func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(connection), connection)).To(Succeed())
			g.Expect(connection.Status.Secrets).To(ConsistOf(HaveField("Version", version)))
		}).WithTimeout(eventual).Should(Succeed())
		for object, before := range conditions {
			Expect(api.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
			Expect(env.Conditions(object)).To(Equal(before), "%T %s", object, object.GetName())
		}
		// Nothing depends on the tokens of the former replicas, which have revoked them. Of the new ones, at least the one
		// that serves the volume has logged in.
		Eventually(ctx, func(g Gomega) {
			latest := livingTokens(ctx, path, began)
			g.Expect(latest).To(BeNumerically(">=", 1))
			g.Expect(livingTokens(ctx, path, time.Time{})-latest).To(BeZero(), "tokens of former replicas")
		}).WithTimeout(eventual).WithPolling(time.Second).Should(Succeed())
		Expect(loginsAt(path)).To(BeNumerically("<=", 4), "of two former replicas and two new ones")
	}, SpecTimeout(3*atLast))
})

// rollController replaces both replicas of the controller, as a new version does, and returns when one of the new ones
// leads.
func rollController(ctx context.Context) {
	GinkgoHelper()
	keepMetrics(ctx)
	old := names(systemPods(ctx, "controller"))
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "sallyport-controller"}}
	change(ctx, deployment, func(d *appsv1.Deployment) {
		if d.Spec.Template.Annotations == nil {
			d.Spec.Template.Annotations = map[string]string{}
		}
		d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = time.Now().Format(time.RFC3339)
	})
	Eventually(ctx, func() []string { return names(systemPods(ctx, "controller")) }).WithTimeout(2 * time.Minute).
		Should(And(HaveLen(2), Not(ContainElement(BeElementOf(old)))))
	expectProductReady(ctx)
	Eventually(ctx, func() string { return leader(ctx) }).WithTimeout(eventual).Should(BeElementOf(names(systemPods(ctx, "controller"))))
}

// withLogin gives a tenant a VaultConfig that logs in with a password.
func (t *tenant) withLogin(ctx context.Context, mount string) *v1alpha1.VaultConfig {
	GinkgoHelper()
	Expect(vault.Sys().EnableAuthWithOptionsWithContext(ctx, mount, &vaultapi.EnableAuthOptions{Type: "userpass"})).To(Succeed())
	DeferCleanup(func(ctx SpecContext) { Expect(vault.Sys().DisableAuthWithContext(ctx, mount)).To(Succeed()) })
	password := rand.Text()
	canaries.allowInSecrets("the password of a Vault user of "+t.namespace, password)
	_, err := vault.Logical().WriteWithContext(ctx, "auth/"+mount+"/users/bob",
		map[string]any{"password": password, "token_policies": t.namespace, "token_ttl": "1h"})
	Expect(err).NotTo(HaveOccurred())
	config := t.vaultConfig("login")
	config.Spec.Auth = v1alpha1.VaultAuth{UserPass: &v1alpha1.PasswordAuth{
		Mount: v1alpha1.MountPath(mount), Username: "bob", PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: "bob", Key: "password"},
	}}
	create(ctx, builder.Secret(t.namespace, "bob", map[string]string{"password": password}), config)
	expectReady(ctx, config)
	return config
}

// livingTokens counts the tokens in Vault that were made at a path, since a moment; a Vault counts seconds.
func livingTokens(ctx context.Context, path string, since time.Time) int {
	GinkgoHelper()
	list, err := vault.Logical().ListWithContext(ctx, "auth/token/accessors")
	Expect(err).NotTo(HaveOccurred())
	accessors, _ := list.Data["keys"].([]any)
	count := 0
	for _, accessor := range accessors {
		id, _ := accessor.(string)
		found, err := vault.Auth().Token().LookupAccessorWithContext(ctx, id)
		if err != nil {
			continue // it died meanwhile
		}
		made, _ := found.Data["creation_time"].(json.Number)
		seconds, err := made.Int64()
		Expect(err).NotTo(HaveOccurred())
		if found.Data["path"] == path && seconds >= since.Unix() {
			count++
		}
	}
	return count
}

// loginsAt counts the logins at a path, by what Vault wrote of all requests.
func loginsAt(path string) int {
	GinkgoHelper()
	log, err := os.Open(filepath.Join(paths.vault(), "audit.log"))
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = log.Close() }()
	needle := []byte(fmt.Sprintf("%q", path))
	count := 0
	for lines := bufio.NewReader(log); err == nil; {
		var line []byte
		if line, err = lines.ReadBytes('\n'); err != nil || !bytes.Contains(line, needle) {
			continue
		}
		var entry struct {
			Type    string
			Request struct{ Path, Operation string }
		}
		Expect(json.Unmarshal(line, &entry)).To(Succeed())
		if entry.Type == "response" && entry.Request.Path == path && entry.Request.Operation == "update" {
			count++
		}
	}
	Expect(count).To(BeNumerically(">", 0), "Vault writes of what it is asked")
	return count
}
