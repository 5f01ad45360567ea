package bench

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/builder"
)

const (
	// taskConcurrency is how many tasks the controller runs at a time.
	taskConcurrency = 24
	taskNamespace   = "bench-0"
	// maxTaskTime is how long tasks may take, by what two writes of their status alone take in the same run.
	maxTaskTime = 1.15
)

// TestVaultTasks measures how fast many tasks that are created at once finish, compared with the same calls to Vault by
// the same client with the same concurrency and with the writes of status alone, and how late renewals of VaultConfigs
// are meanwhile. Making the objects is the user's load and not counted: they are all there when the controller gets to
// see them. BENCH_TASKS is how many there are.
func TestVaultTasks(t *testing.T) {
	g := NewWithT(t)
	s := newSystem(t)
	number := setting(t, "BENCH_TASKS", 1000)
	g.Expect(s.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: taskNamespace}})).To(Succeed())
	renewed := s.addRenewed(t, "bench-renewed")
	s.addVaultConfig(t, taskNamespace, "tasks", s.vault.URL(), s.vault.RootToken())
	g.Eventually(func() int { return s.ready(t) }, 2*time.Minute, time.Second).Should(Equal(renewedConfigs + 1))
	calm := [2]time.Time{time.Now(), time.Now().Add(calmWindow)}
	wait(t, calmWindow)

	phases := newReport("vaulttasks-processors", "seconds, and seconds of the processors' time that each program used",
		append([]string{"Vault calls/task", "status writes/task", "s"}, programs...)...)
	bare := s.phase(t, phases, 2, 0, func() time.Duration { return s.bare(t, number, "before") })
	before, err := s.apiServer(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.controller.Signal(syscall.SIGSTOP)).To(Succeed()) // so that all of them are there when it begins
	created := s.each(t, number, func(ctx context.Context, i int) error { return s.Client.Create(ctx, writeTask(i)) })
	g.Expect(s.controller.Signal(syscall.SIGCONT)).To(Succeed())
	busy := [2]time.Time{time.Now()}
	done := s.phase(t, phases, 2, 2, func() time.Duration { return s.waitForAll(t, number) })
	busy[1] = time.Now()
	after, err := s.apiServer(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	bare = (bare + s.phase(t, phases, 2, 0, func() time.Duration { return s.bare(t, number, "after") })) / 2
	wait(t, renewedTTL) // for the renewals that became due last

	g.Expect(s.controller.Signal(syscall.SIGSTOP)).To(Succeed())
	stored := s.phase(t, phases, 0, 2, func() time.Duration { return s.store(t, number, 2) })
	s.phase(t, phases, 0, 1, func() time.Duration { return s.store(t, number, 1) })
	g.Expect(s.controller.Signal(syscall.SIGCONT)).To(Succeed())

	report := newReport("vaulttasks", fmt.Sprintf("VaultTasks that write, created at once, %d at a time, one replica", taskConcurrency),
		"tasks", "created s", "all done s", "tasks/s", "bare calls s", "ratio", "bare status writes s", "ratio to these", "ratio to both", "status writes/task", "reads/task", "events/task")
	writes := after.requests("vaulttasks", "PUT", "PATCH") - before.requests("vaulttasks", "PUT", "PATCH")
	reads := after.requests("vaulttasks", "GET") - before.requests("vaulttasks", "GET")
	events := after.requests("events", "POST") - before.requests("events", "POST")
	report.add(float64(number), created.Seconds(), done.Seconds(), float64(number)/done.Seconds(),
		bare.Seconds(), done.Seconds()/bare.Seconds(), stored.Seconds(), done.Seconds()/stored.Seconds(), done.Seconds()/(bare+stored).Seconds(),
		writes/float64(number), reads/float64(number), events/float64(number))
	report.atMost("tasks by two writes of status alone", done.Seconds()/stored.Seconds(), maxTaskTime)
	report.publish(t)
	phases.publish(t)
	renewed.report(t, "vaulttasks-renewals", calm, busy)
}

// phase does something that takes so many calls to Vault and writes of status for each task, and adds a row about it.
func (s *system) phase(t *testing.T, to *Report, calls, writes float64, do func() time.Duration) time.Duration {
	t.Helper()
	before := processors(t)
	took := do()
	to.add(append([]float64{calls, writes, took.Seconds()}, processors(t).since(before)...)...)
	return took
}

// bare makes the calls to Vault that the tasks make, with the same client and as many at a time, and returns how long
// they take.
func (s *system) bare(t *testing.T, number int, prefix string) time.Duration {
	t.Helper()
	g := NewWithT(t)
	sessions, err := session.NewSessions(session.Options{Reader: s.Client})
	g.Expect(err).NotTo(HaveOccurred())
	config := &v1alpha1.VaultConfig{}
	g.Expect(s.Client.Get(t.Context(), client.ObjectKey{Namespace: taskNamespace, Name: "tasks"}, config)).To(Succeed())
	session, err := sessions.For(t.Context(), config)
	g.Expect(err).NotTo(HaveOccurred())
	return s.each(t, number, func(ctx context.Context, i int) error {
		location := secrets.Location{EnginePath: "secret", SecretPath: fmt.Sprintf("%s-%d", prefix, i)}
		version, err := secrets.CurrentVersion(ctx, session, location)
		if err != nil {
			return err
		}
		_, err = secrets.Write(ctx, session, location, map[string]any{"a": "b"}, version)
		return err
	})
}

// store writes the status of every task so many times, and returns how long the API server alone takes for it.
func (s *system) store(t *testing.T, number, times int) time.Duration {
	t.Helper()
	list := &v1alpha1.VaultTaskList{}
	NewWithT(t).Expect(s.Client.List(t.Context(), list, client.InNamespace(taskNamespace))).To(Succeed())
	return s.each(t, number, func(ctx context.Context, i int) error {
		for range times {
			list.Items[i].Status.Failures++
			if err := s.Client.Status().Update(ctx, &list.Items[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// waitForAll follows the tasks until all of them are complete, and returns how long that takes: to list them again and
// again would take the time that is measured. The API server ends a watch that cannot keep up; the next one begins with
// all that there is.
func (s *system) waitForAll(t *testing.T, number int) time.Duration {
	t.Helper()
	started := time.Now()
	g := NewWithT(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	follower, err := client.NewWithWatch(s.Config, client.Options{Scheme: s.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	done := map[string]bool{}
	for len(done) < number {
		g.Expect(ctx.Err()).NotTo(HaveOccurred(), "%d of %d are done", len(done), number)
		watch, err := follower.Watch(ctx, &v1alpha1.VaultTaskList{}, client.InNamespace(taskNamespace))
		g.Expect(err).NotTo(HaveOccurred())
		for event := range watch.ResultChan() {
			task, ok := event.Object.(*v1alpha1.VaultTask)
			if ok && meta.IsStatusConditionTrue(task.Status.Conditions, v1alpha1.ConditionComplete) {
				done[task.Name] = true
			}
			if len(done) == number {
				break
			}
		}
		watch.Stop()
	}
	return time.Since(started)
}

// each does something for every number, as many at a time as the controller.
func (s *system) each(t *testing.T, number int, do func(context.Context, int) error) time.Duration {
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

func writeTask(number int) *v1alpha1.VaultTask {
	name := fmt.Sprintf("task-%d", number)
	return builder.VaultTask(taskNamespace, name, v1alpha1.OperationWrite, name,
		builder.WithConfig("tasks"), builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"}))
}
