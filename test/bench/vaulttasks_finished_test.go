package bench

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

const (
	// What finished tasks may cost beside what the controller costs without any: no more than what differs between two
	// looks at a controller that does nothing. The API server ends each watch now and then, and it is begun again.
	maxFinishedCPU      = 0.5 // % of a core
	maxFinishedRequests = 5   // a minute
	// maxStart is how long a start of the controller may take, in seconds.
	maxStart = 5
)

// TestFinishedTasks measures what finished VaultTasks cost while nothing happens, beside what there is without them, and
// how long the controller takes to start with them: until a task is done that was made while it was away, and none is
// left to be looked at. BENCH_TASKS is how many there are, BENCH_SECONDS how long each is watched.
func TestFinishedTasks(t *testing.T) {
	g := NewWithT(t)
	s := newSystem(t)
	s.countRequests(t)
	number, window := setting(t, "BENCH_TASKS", 10_000), time.Duration(setting(t, "BENCH_SECONDS", 180))*time.Second
	g.Expect(s.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: taskNamespace}})).To(Succeed())
	s.addVaultConfig(t, taskNamespace, "tasks", s.proxy.URL(), s.vault.RootToken())
	g.Eventually(func() int { return s.ready(t) }, 2*time.Minute, time.Second).Should(Equal(1))
	report := newReport("vaulttasks-finished", fmt.Sprintf("finished VaultTasks at rest, one replica, watched for %s, and a start of the controller with them", window),
		"tasks", "controller CPU %", "API requests/min", "Vault requests/min", "MiB", "start s", "MiB after the start")

	s.settle(t)
	without := s.watchIdle(t, window)
	report.add(append(append([]float64{0}, without...), s.restart(t, number, 0)...)...)
	s.each(t, number, func(ctx context.Context, i int) error { return s.Client.Create(ctx, writeTask(i)) })
	s.waitForAll(t, number+1) // and the one of the restart
	s.settle(t)
	with := s.watchIdle(t, window)
	start := s.restart(t, number+1, number+1)
	report.add(append(append([]float64{float64(number)}, with...), start...)...)
	report.atMost("controller's CPU more than without tasks, % of a core", with[0]-without[0], maxFinishedCPU)
	report.atMost("API server requests a minute more than without tasks", with[1]-without[1], maxFinishedRequests)
	report.atMost("requests to Vault a minute more than without tasks", with[2]-without[2], maxFinishedRequests)
	report.atMost("start with them, s", start[0], maxStart)
	report.publish(t)
}

// watchIdle is what the controller costs for a while: its share of a core, requests a minute to the API server and to
// Vault, and its memory.
func (s *system) watchIdle(t *testing.T, window time.Duration) []float64 {
	t.Helper()
	controller, api := watchProcess(t, s.controller), s.api(t)
	s.proxy.Reset()
	for time.Since(controller.started) < window {
		wait(t, time.Second)
		controller.look(t)
	}
	minutes := time.Since(controller.started).Minutes()
	_, _, vault := s.counts()
	return []float64{controller.cpu(t), (s.api(t).ofSallyport() - api.ofSallyport()) / minutes, vault / minutes, controller.peak}
}

// restart ends the controller, makes the task of a number, and starts the controller. It returns how long that takes
// until the task is done and nothing is left of the tasks that there are, and the controller's memory then.
func (s *system) restart(t *testing.T, number, finished int) []float64 {
	t.Helper()
	g := NewWithT(t)
	g.Expect(s.controller.Signal(syscall.SIGTERM)).To(Succeed())
	_, _ = s.controller.Wait()
	task := writeTask(number)
	g.Expect(s.Client.Create(t.Context(), task)).To(Succeed())
	started := time.Now()
	s.launchController(t)
	g.Eventually(func(g Gomega) {
		g.Expect(s.Client.Get(t.Context(), client.ObjectKeyFromObject(task), task)).To(Succeed())
		g.Expect(meta.IsStatusConditionTrue(task.Status.Conditions, v1alpha1.ConditionComplete)).To(BeTrue(), "the task that was made meanwhile is done")
		found, err := scrape(t, s.metrics)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(found.sum("controller_runtime_reconcile_total", `controller="vaulttask"`)).To(BeNumerically(">", finished), "each is looked at")
		g.Expect(found.sum("workqueue_depth", `name="vaulttask"`)).To(BeZero(), "no task is left to be looked at")
	}, 5*time.Minute, 20*time.Millisecond).Should(Succeed())
	return []float64{time.Since(started).Seconds(), resident(t, s.controller)}
}
