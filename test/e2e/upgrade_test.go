package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// formerVersion is what hack/test.sh upgrade has the release before call itself.
const formerVersion = "former"

// apply applies those objects of a kustomization for which wanted is true.
func apply(ctx context.Context, kustomization string, wanted func(kind string) bool) {
	GinkgoHelper()
	all, err := exec.CommandContext(ctx, "kubectl", "kustomize", kustomization).Output()
	Expect(err).NotTo(HaveOccurred())
	var some bytes.Buffer
	for object := range strings.SplitSeq(string(all), "\n---\n") {
		var is metav1.TypeMeta
		Expect(yaml.Unmarshal([]byte(object), &is)).To(Succeed())
		if wanted(is.Kind) {
			some.WriteString("---\n" + object + "\n")
		}
	}
	command := exec.CommandContext(ctx, "kubectl", "apply", "-f", "-")
	command.Stdin = &some
	output, err := command.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(output))
}

// flaps notes every moment at which an object that was ready is not.
type flaps struct {
	mu    sync.Mutex
	found []string
}

func (f *flaps) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.found
}

func (f *flaps) watch(ctx context.Context, objects ...client.Object) {
	for ctx.Err() == nil {
		for _, object := range objects {
			if api.Get(ctx, client.ObjectKeyFromObject(object), object) != nil {
				continue
			}
			ready := meta.FindStatusCondition(env.Conditions(object), v1alpha1.ConditionReady)
			if ready == nil || ready.Status != metav1.ConditionTrue {
				f.mu.Lock()
				f.found = append(f.found, fmt.Sprintf("%s %T %s: %v", time.Now().Format(time.TimeOnly), object, object.GetName(), env.Conditions(object)))
				f.mu.Unlock()
			}
		}
		time.Sleep(often)
	}
}

// Only hack/test.sh upgrade runs it, which has installed the release before: SALLYPORT_FORMER is its kustomization.
var _ = func() bool {
	former := os.Getenv("SALLYPORT_FORMER")
	if former == "" {
		return false
	}
	return Describe("An upgrade from the release before, and back", Serial, Ordered, func() {
		var (
			t       *tenant
			d       *database
			noticed = &flaps{}
			pods    []*corev1.Pod // of static secrets, one with fsGroup
			users   []*corev1.Pod // of users of the database
			uids    = map[types.UID]string{}
			began   time.Time
		)

		BeforeAll(func(ctx SpecContext) {
			t = newReadyTenant(ctx)
			d = newDatabase(ctx, t)
			config := &v1alpha1.VaultConfig{ObjectMeta: t.meta(mainConfig)}
			t.put(ctx, "db", map[string]any{"password": newSecret("before")})
			static := t.connection("static", map[string]any{"host": "db.example.com", "password": "vault.secret(password)"}, t.secretAt("db"))
			dynamic := t.connection("minute", map[string]any{"username": "vault.secret(username)", "password": "vault.secret(password)"},
				v1alpha1.VaultSecret{VaultConfigRef: v1alpha1.VaultConfigReference{Name: mainConfig}, EnginePath: d.engine, SecretPath: "creds/minute"})
			// newDatabase leaves only its own paths to the tenant.
			Expect(vault.Sys().PutPolicyWithContext(ctx, t.namespace, fmt.Sprintf(`path "%[1]s/data/%[2]s/*" { capabilities = ["create", "update", "read"] }
				path "%[1]s/metadata/%[2]s/*" { capabilities = ["read"] }
				path "%[3]s/creds/*" { capabilities = ["read"] }
				path "sys/leases/revoke" { capabilities = ["update"] }`, engine, t.namespace, d.engine))).To(Succeed())
			create(ctx, static, dynamic)
			expectReady(ctx, static)
			expectReady(ctx, dynamic)

			grouped := t.pod("static")
			grouped.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(4242))}
			create(ctx, grouped)
			pods = append(t.startMany(ctx, "static", 2), grouped)
			users = t.startMany(ctx, "minute", 3)
			for _, pod := range append(users, pods...) {
				expectRuns(ctx, pod, eventual)
				uids[pod.UID] = pod.Name
			}
			for _, pod := range users {
				d.watch(pod)
			}
			d.forbidLeases(ctx, "minute")

			write := func(name string, change func(*v1alpha1.VaultTask)) *v1alpha1.VaultTask {
				task := builder.VaultTask(t.namespace, name, v1alpha1.OperationWrite, t.namespace+"/"+name, builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"}))
				change(task)
				create(ctx, task)
				return task
			}
			began = time.Now()
			once := write("once", func(*v1alpha1.VaultTask) {})
			write("suspended", func(task *v1alpha1.VaultTask) { task.Spec.Suspend = new(true) })
			write("scheduled", func(task *v1alpha1.VaultTask) {
				task.Spec.Schedule, task.Spec.Overwrite = &v1alpha1.TaskSchedule{Cron: "* * * * *"}, new(true)
			})
			expectCondition(ctx, once, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)

			watching, stop := context.WithCancel(context.Background())
			var watched sync.WaitGroup
			watched.Go(func() { noticed.watch(watching, config, static.DeepCopy(), dynamic.DeepCopy()) })
			DeferCleanup(func() { stop(); watched.Wait() })
		}, NodeTimeout(2*atLast))

		// expectNothingHappened changes the secret, and looks whether it comes to all pods and nobody noticed anything else.
		expectNothingHappened := func(ctx context.Context) {
			GinkgoHelper()
			password := newSecret("password")
			t.put(ctx, "db", map[string]any{"password": password})
			for _, pod := range pods {
				Eventually(ctx, func() (string, error) { return read(pod, "password") }).WithTimeout(eventual).Should(Equal(password), "pod %s", pod.Name)
			}
			Consistently(ctx, d.failed).WithTimeout(45*time.Second).WithPolling(time.Second).Should(BeEmpty(), "logins with what stood in the files")
			Expect(noticed.seen()).To(BeEmpty(), "conditions that were not True")
			list := &corev1.PodList{}
			Expect(api.List(ctx, list, client.InNamespace(t.namespace))).To(Succeed())
			Expect(list.Items).To(HaveLen(len(uids)))
			for _, pod := range list.Items {
				Expect(uids).To(HaveKey(pod.UID))
				Expect(pod.Status.ContainerStatuses[0].RestartCount).To(BeZero())
				Expect(isRunning(&pod)).To(BeTrue())
			}
			once, err := vault.KVv2(engine).Get(ctx, t.namespace+"/once")
			Expect(err).NotTo(HaveOccurred())
			Expect(once.VersionMetadata.Version).To(Equal(1), "a task that ran once")
			_, err = vault.KVv2(engine).Get(ctx, t.namespace+"/suspended")
			Expect(err).To(HaveOccurred(), "a task that is suspended")
			runs, err := vault.KVv2(engine).GetVersionsAsList(ctx, t.namespace+"/scheduled")
			if err == nil { // the first minute may not have come
				minutes := map[string]bool{}
				for _, run := range runs {
					minutes[run.CreatedTime.Format("15:04")] = true
				}
				Expect(minutes).To(HaveLen(len(runs)), "a scheduled task runs once a minute")
			}
			AddReportEntry("users that pods had", fmt.Sprint(len(d.had(users[0])), len(d.had(users[1])), len(d.had(users[2]))))
		}
		isNodePlugin := func(kind string) bool { return kind == "DaemonSet" }
		isNoNodePlugin := func(kind string) bool { return kind != "DaemonSet" }
		step := func(name, what string, kustomization func() string, wanted func(string) bool) {
			It("is noticed by no pod: "+name, func(ctx SpecContext) {
				By(what)
				keepMetrics(ctx)
				apply(ctx, kustomization(), wanted)
				expectProductReady(ctx)
				expectNothingHappened(ctx)
			}, SpecTimeout(3*atLast))
		}
		current := func() string { return filepath.Join(paths.checkout, "config", "default") }
		previous := func() string { return former }
		step("new controllers", "the node plugin is still the former one", current, isNoNodePlugin)
		step("new node plugin", "all is new", current, isNodePlugin)
		step("former controllers again", "the node plugin is still the new one", previous, isNoNodePlugin)
		step("former node plugin again", "all is as it was", previous, isNodePlugin)
		step("new controllers for the second time", "the node plugin is still the former one", current, isNoNodePlugin)
		step("new node plugin for the second time", "all is new", current, isNodePlugin)

		It("leaves nothing behind", func(ctx SpecContext) {
			runs, err := vault.KVv2(engine).GetVersionsAsList(ctx, t.namespace+"/scheduled")
			Expect(err).NotTo(HaveOccurred())
			Expect(len(runs)).To(BeNumerically("~", int(time.Since(began).Minutes()), 2), "the schedule went on")
			d.stopWatching()
			for _, pod := range users {
				remove(ctx, pod)
			}
			Eventually(ctx, d.made).WithTimeout(2*time.Minute).WithPolling(time.Second).Should(BeEmpty(), "users in PostgreSQL")
		}, SpecTimeout(2*atLast))
	})
}()
