package app

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/abridged"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/test/builder"
)

func TestTaskFollower(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&v1alpha1.VaultConfig{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "main"},
			Spec: v1alpha1.VaultConfigSpec{URL: "https://Vault-A:443/", VaultNamespace: "team/"}},
		builder.Connection("shop", "vault", map[string]any{"url": "https://vault-b", "vaultNamespace": "x"}),
	).Build()
	var told []string
	f := newTaskFollower(objects, func(place string) { told = append(told, place) })
	run := func(namespace string, target v1alpha1.TaskTarget) {
		task := &v1alpha1.VaultTask{}
		task.Namespace, task.Spec.Operation, task.Spec.TaskTarget = namespace, v1alpha1.OperationWrite, target
		before := task.DeepCopy()
		task.Status.Result = &v1alpha1.TaskResult{Path: "secret/data/db", Version: 1}
		f.updated(t.Context(), before, task)
		f.updated(t.Context(), task, task)
	}
	run("shop", v1alpha1.TaskTarget{VaultConfigRef: &v1alpha1.VaultConfigReference{Name: "main"}})
	run("other", v1alpha1.TaskTarget{VaultConfigRef: &v1alpha1.VaultConfigReference{Name: "main", Namespace: "shop"}})
	run("shop", v1alpha1.TaskTarget{ConnectionRef: &v1alpha1.ConnectionReference{Name: "vault"}})
	run("evil", v1alpha1.TaskTarget{Vault: &v1alpha1.InlineVault{URL: "https://evil"}})
	run("evil", v1alpha1.TaskTarget{VaultConfigRef: &v1alpha1.VaultConfigReference{Name: "none"}})
	g.Expect(told).To(Equal([]string{
		"https://vault-a team/secret/data/db", "https://vault-a team/secret/data/db", "https://vault-b x/secret/data/db",
		"https://evil secret/data/db",
	}))
	g.Expect(resolver.Place("https://vault-a", "team", "secret/data/db")).To(Equal(told[0]))
	g.Expect(resolver.Place("https://vault-a", "", "team/secret/data/db")).To(Equal(told[0]), "as asked from above")

	told = nil
	for range 1000 {
		run("loop", v1alpha1.TaskTarget{Vault: &v1alpha1.InlineVault{URL: "https://vault-a"}})
	}
	g.Expect(len(told)).To(BeNumerically("<=", changesAtOnce+5), fmt.Sprint(len(told)))
	told = nil
	run("shop", v1alpha1.TaskTarget{VaultConfigRef: &v1alpha1.VaultConfigReference{Name: "main"}})
	g.Expect(told).To(HaveLen(1), "another namespace is not held up")
}

// TestTheFollowerAsksNobody: informers keep enough of what is large, so that no namespace's holds up the notices for all.
func TestTheFollowerAsksNobody(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	config := builder.VaultConfig("shop", "main", builder.WithURL("https://vault-a"))
	config.Spec.CACertificate = strings.Repeat("x", 200_000)
	connection := builder.Connection("shop", "vault", map[string]any{
		"url": "https://vault-b", "vaultNamespace": "x", "large": strings.Repeat("x", 200_000)})
	connection.Spec.Type = "VAULT"
	var kept []client.Object
	for _, object := range []client.Object{config, connection} {
		transformed, err := abridged.Transform(object)
		g.Expect(err).NotTo(HaveOccurred())
		kept = append(kept, transformed.(client.Object))
		g.Expect(abridged.Is(transformed.(client.Object))).To(BeTrue())
	}
	var told []string
	f := newTaskFollower(fake.NewClientBuilder().WithScheme(scheme).WithObjects(kept...).Build(),
		func(place string) { told = append(told, place) })
	for _, target := range []v1alpha1.TaskTarget{
		{VaultConfigRef: &v1alpha1.VaultConfigReference{Name: "main"}}, {ConnectionRef: &v1alpha1.ConnectionReference{Name: "vault"}},
	} {
		task := &v1alpha1.VaultTask{}
		task.Namespace, task.Spec.Operation, task.Spec.TaskTarget = "shop", v1alpha1.OperationWrite, target
		before := task.DeepCopy()
		task.Status.Result = &v1alpha1.TaskResult{Path: "secret/data/db", Version: 1}
		f.updated(t.Context(), before, task)
	}
	g.Expect(told).To(Equal([]string{"https://vault-a secret/data/db", "https://vault-b x/secret/data/db"}))
}
