package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

const (
	// taskConcurrency is how many tasks the controller runs at a time.
	taskConcurrency = 24
	// busyConfigs are VaultConfigs that are renewed meanwhile.
	busyConfigs = perNamespace
)

// TestVaultTasks measures how fast many tasks that are created at once finish, compared with the same calls to Vault without Kubernetes
// and with the same concurrency, and whether VaultConfigs are still renewed meanwhile. BENCH_TASKS is how many there are.
func TestVaultTasks(t *testing.T) {
	g := NewWithT(t)
	s := newSite(t)
	number := setting(t, "BENCH_TASKS", 1000)
	for i := range busyConfigs {
		s.addConfig(t, i)
	}
	s.addTaskConfig(t)
	g.Eventually(func() int { return s.ready(t) }, 2*time.Minute, time.Second).Should(Equal(busyConfigs + 1))

	bare := s.each(t, number, func(ctx context.Context, i int) error {
		path := fmt.Sprintf("bare-%d", i)
		_, _ = s.vault.Client().KVv2("secret").GetMetadata(ctx, path) // there is none yet
		_, err := s.vault.Client().KVv2("secret").Put(ctx, path, map[string]any{"a": "b"})
		return err
	})
	before, err := s.apiServer(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	started := time.Now()
	s.each(t, number, func(ctx context.Context, i int) error { return s.Client.Create(ctx, writeTask(i)) })
	created := time.Since(started)
	g.Eventually(func() int { return s.complete(t) }, 10*time.Minute, 200*time.Millisecond).Should(Equal(number))
	done := time.Since(started)
	after, err := s.apiServer(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.ready(t)).To(Equal(busyConfigs+1), "VaultConfigs that are ready all the same")

	report := newReport("vaulttasks", fmt.Sprintf("VaultTasks that write, created at once, %d at a time, one replica", taskConcurrency),
		"tasks", "bare calls s", "created s", "all done s", "ratio", "status writes/task", "tasks/s")
	writes := after.requests("vaulttasks", "PUT", "PATCH") - before.requests("vaulttasks", "PUT", "PATCH")
	report.add(float64(number), bare.Seconds(), created.Seconds(), done.Seconds(), done.Seconds()/bare.Seconds(), writes/float64(number), float64(number)/done.Seconds())
	report.publish(t)
}

// each does something for every number, as many at a time as the controller.
func (s *site) each(t *testing.T, number int, do func(context.Context, int) error) time.Duration {
	t.Helper()
	started := time.Now()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(taskConcurrency)
	for i := range number {
		group.Go(func() error { return do(ctx, i) })
	}
	NewWithT(t).Expect(group.Wait()).To(Succeed())
	return time.Since(started)
}

func (s *site) addTaskConfig(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	name := metav1.ObjectMeta{Namespace: "bench-0", Name: "tasks"}
	g.Expect(s.Client.Create(t.Context(), &corev1.Secret{ObjectMeta: name, StringData: map[string]string{"token": s.vault.RootToken()}})).To(Succeed())
	g.Expect(s.Client.Create(t.Context(), &v1alpha1.VaultConfig{ObjectMeta: name, Spec: v1alpha1.VaultConfigSpec{
		URL: s.vault.URL(), CACertificate: s.vault.CACertificate(), EnginePath: "secret",
		Auth: v1alpha1.VaultAuth{Token: &v1alpha1.TokenAuth{SecretKeyRef: v1alpha1.SecretKeyReference{Name: name.Name, Key: "token"}}},
	}})).To(Succeed())
}

func writeTask(number int) *v1alpha1.VaultTask {
	return &v1alpha1.VaultTask{
		ObjectMeta: metav1.ObjectMeta{Namespace: "bench-0", Name: fmt.Sprintf("task-%d", number)},
		Spec: v1alpha1.VaultTaskSpec{
			TaskTarget: v1alpha1.TaskTarget{VaultConfigRef: &v1alpha1.VaultConfigReference{Name: "tasks"}},
			Operation:  v1alpha1.OperationWrite,
			SecretPath: fmt.Sprintf("task-%d", number),
			TaskInput:  v1alpha1.TaskInput{Data: map[string]v1alpha1.TaskValue{"a": "b"}},
		},
	}
}

// complete is how many tasks are.
func (s *site) complete(t *testing.T) int {
	t.Helper()
	list := &v1alpha1.VaultTaskList{}
	NewWithT(t).Expect(s.Client.List(t.Context(), list, client.InNamespace("bench-0"))).To(Succeed())
	count := 0
	for i := range list.Items {
		if meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, v1alpha1.ConditionComplete) {
			count++
		}
	}
	return count
}
