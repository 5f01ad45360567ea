package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
//
// What the former release issued is issued anew by the new one, for it kept no digests of files. What the new one
// issued is issued anew after the way back, for the former one cannot read its lease state, and leaves it to its own
// end. Programs that read their files once have their credential for as long as its lease lives: an hour here, longer
// than all of this takes.
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
			renewed []*corev1.Pod // of users of the database for five minutes, which the docs ask for at least
			lasting []*corev1.Pod // of those for an hour, with programs that read their files once
			uids    = map[types.UID]string{}
			began   time.Time
		)

		BeforeAll(func(ctx SpecContext) {
			t = newReadyTenant(ctx)
			d = newDatabase(ctx, t)
			config := &v1alpha1.VaultConfig{ObjectMeta: t.meta(mainConfig)}
			t.put(ctx, "db", map[string]any{"password": newSecret("before")})
			static := t.connection("static", map[string]any{"host": "db.example.com", "password": "vault.secret(password)"}, t.secretAt("db"))
			// newDatabase leaves only its own paths to the tenant.
			Expect(vault.Sys().PutPolicyWithContext(ctx, t.namespace, fmt.Sprintf(`path "%[1]s/data/%[2]s/*" { capabilities = ["create", "update", "read"] }
				path "%[1]s/metadata/%[2]s/*" { capabilities = ["read"] }
				path "%[3]s/creds/*" { capabilities = ["read"] }
				path "sys/leases/revoke" { capabilities = ["update"] }`, engine, t.namespace, d.engine))).To(Succeed())
			create(ctx, static)
			expectReady(ctx, static)
			dynamic := d.connect(ctx, t, "five", mainConfig, "five")

			grouped := t.pod("static")
			grouped.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(4242))}
			create(ctx, grouped)
			pods = append(t.startMany(ctx, "static", 2), grouped)
			renewed, lasting = t.startMany(ctx, "five", 3), t.startMany(ctx, "lasting", 3)
			for _, pod := range slices.Concat(pods, renewed, lasting) {
				expectRuns(ctx, pod, eventual)
				uids[pod.UID] = pod.Name
			}
			for _, pod := range renewed {
				d.watch(pod)
			}
			for _, pod := range lasting {
				d.watchOnce(pod)
			}
			d.forbidLeases(ctx, "five")
			d.forbidLeases(ctx, "lasting")

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
				task.Spec.Schedule = &v1alpha1.TaskSchedule{Cron: "* * * * *"}
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
				// The former node plugin left no token beside a volume: who comes after it waits for the kubelet to bring one.
				Eventually(ctx, func() (string, error) { return read(pod, "password") }).WithTimeout(atLast).Should(Equal(password), "pod %s", pod.Name)
			}
			Consistently(ctx, d.failed).WithTimeout(45*time.Second).WithPolling(time.Second).
				Should(BeEmpty(), "logins with what stood in the files, and with what was read once")
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
			for _, pod := range slices.Concat(renewed, lasting) {
				AddReportEntry("users that pod "+pod.Name+" had", len(d.had(pod)))
			}
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
			var earlier []string
			for _, pod := range slices.Concat(renewed, lasting) {
				had := d.had(pod)
				earlier = append(earlier, had[:len(had)-1]...)
				remove(ctx, pod)
			}
			Eventually(ctx, func() []string {
				return slices.DeleteFunc(d.made(), func(user string) bool { return slices.Contains(earlier, user) })
			}).WithTimeout(2*time.Minute).WithPolling(time.Second).
				Should(BeEmpty(), "users in PostgreSQL, half of them of an hour")
			Expect(d.failed()).To(BeEmpty())
		}, SpecTimeout(2*atLast))
	})
}()
