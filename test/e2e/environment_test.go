package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/canary"
)

// programVolume is where sallyport-exec lies in a pod.
const programVolume = "/opt/sallyport"

// withExec has a pod's program started by sallyport-exec, which an init container copies into a volume. The program runs
// as what images of today are: no root, nothing to write to, no right.
func withExec(ctx context.Context, pod *corev1.Pod, arguments ...string) *corev1.Pod {
	GinkgoHelper()
	controller := &appsv1.Deployment{}
	Expect(api.Get(ctx, inSystem("sallyport-controller"), controller)).To(Succeed())
	volume := corev1.VolumeMount{Name: "sallyport-exec", MountPath: programVolume}
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: volume.Name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	pod.Spec.InitContainers = []corev1.Container{{
		Name: volume.Name, Image: controller.Spec.Template.Spec.Containers[0].Image, ImagePullPolicy: corev1.PullNever,
		Command:      []string{"/sallyport-exec", "--install=" + programVolume},
		VolumeMounts: []corev1.VolumeMount{volume},
	}}
	app := &pod.Spec.Containers[0]
	app.Command = append([]string{programVolume + "/sallyport-exec", "--from=DB_=" + mountPath}, arguments...)
	app.VolumeMounts = append(app.VolumeMounts, corev1.VolumeMount{Name: volume.Name, MountPath: programVolume, ReadOnly: true})
	app.SecurityContext = &corev1.SecurityContext{
		RunAsUser: new(int64(12345)), RunAsGroup: new(int64(12345)), RunAsNonRoot: new(true),
		ReadOnlyRootFilesystem: new(true), AllowPrivilegeEscalation: new(false),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	return pod
}

// withNodePrograms gives a pod's first container the node's own programs, with what they need.
func withNodePrograms(pod *corev1.Pod) *corev1.Pod {
	app := &pod.Spec.Containers[0]
	for _, directory := range []string{"/usr", "/lib", "/lib64"} {
		name := "node" + strings.ReplaceAll(directory, "/", "-")
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: directory}}})
		app.VolumeMounts = append(app.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: directory, ReadOnly: true})
	}
	return pod
}

// program is a process of a pod's container.
type program struct {
	name string
	// pid is its ID in the container.
	pid         string
	environment []string
}

// programs are those that run in a pod's first container now.
func programs(pod *corev1.Pod) []program {
	GinkgoHelper()
	_, id, _ := strings.Cut(statusOf(pod, pod.Spec.Containers[0].Name).ContainerID, "://")
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	Expect(err).NotTo(HaveOccurred())
	var found []program
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(content), id) {
			continue
		}
		of := func(name string) string {
			content, _ := os.ReadFile(filepath.Join(filepath.Dir(file), name))
			return string(content)
		}
		p := program{name: strings.TrimSpace(of("comm")), environment: strings.Split(of("environ"), "\x00")}
		for line := range strings.Lines(of("status")) {
			if ids, is := strings.CutPrefix(line, "NSpid:"); is {
				p.pid = strings.Fields(ids)[len(strings.Fields(ids))-1]
			}
		}
		found = append(found, p)
	}
	return found
}

// runtimePlaces are the directories of the container runtime: its database, and the specifications of containers.
func runtimePlaces() []string {
	return []string{filepath.Join(paths.cluster, "containerd"), "/run/containerd"}
}

// kept tells whether the container runtime has written a value.
func kept(name, text string) []string {
	GinkgoHelper()
	var found []string
	for _, finding := range scan(scanner(canary.Value{Name: name, Text: text}), runtimePlaces(), nil).Findings {
		found = append(found, finding.String())
	}
	return found
}

var _ = Describe("A program that reads its environment only", Ordered, func() {
	var (
		t     *tenant
		value string
	)

	BeforeAll(func(ctx SpecContext) {
		t = newReadyTenant(ctx)
		value = newSecret("in an environment")
		t.put(ctx, "db", map[string]any{"password": value})
		create(ctx, t.connection("db", map[string]any{"host": "db.example.com", "password": "vault.secret(password)"}, t.secretAt("db")))
	}, NodeTimeout(eventual))

	It("has the values of a Connection there, and nothing else has them; as the first process, no root, on a read-only file system", func(ctx SpecContext) {
		pod := withExec(ctx, t.pod("db"), "--", "/bin/sh", "-c", `[ "$DB_host" = db.example.com ] && [ "$1" = "it's \"quoted\"" ] && exec sleep 3600`, "sh", `it's "quoted"`)
		create(ctx, pod)
		expectRuns(ctx, pod, eventual)
		var running []program
		Eventually(func(g Gomega) { // the container runs before its program has come so far
			running = programs(pod)
			g.Expect(running).To(HaveLen(1), "sallyport-exec has become it")
			g.Expect(running[0].name).To(Equal("sleep"))
		}).WithTimeout(soon).Should(Succeed())
		Expect(running[0].pid).To(Equal("1"))
		Expect(slices.Contains(running[0].environment, "DB_password="+value)).To(BeTrue())
		Expect(kept("in an environment", value)).To(BeEmpty())
	}, SpecTimeout(eventual))

	It("of a Secret has them in the runtime's database as well", func(ctx SpecContext) {
		text := "compared-" + rand.Text()
		secret := &corev1.Secret{ObjectMeta: t.meta("compared"), StringData: map[string]string{"password": text}}
		create(ctx, secret)
		pod := t.pod("db")
		pod.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret.Name}}}}
		create(ctx, pod)
		expectRuns(ctx, pod, eventual)
		Expect(kept("of a Secret", text)).NotTo(BeEmpty())
		remove(ctx, pod)
	}, SpecTimeout(eventual))

	It("is psql, which logs in as a user that Vault makes", func(ctx SpecContext) {
		other := newReadyTenant(ctx) // a database takes what rights a tenant had
		d := newDatabase(ctx, other)
		host, port, err := net.SplitHostPort(d.Address())
		Expect(err).NotTo(HaveOccurred())
		create(ctx, other.connection("psql", map[string]any{
			"PGHOST": host, "PGPORT": port, "PGDATABASE": "postgres", "PGUSER": "vault.secret(username)", "PGPASSWORD": "vault.secret(password)",
		}, v1alpha1.VaultSecret{VaultConfigRef: v1alpha1.VaultConfigReference{Name: mainConfig}, EnginePath: d.engine, SecretPath: "creds/lasting"}))
		psql, err := filepath.Glob("/usr/lib/postgresql/*/bin/psql")
		Expect(err).NotTo(HaveOccurred())
		Expect(psql).NotTo(BeEmpty())
		pod := withExec(ctx, other.pod("psql"))
		withNodePrograms(pod)
		pod.Spec.HostNetwork = true // where the server listens
		pod.Spec.Containers[0].Command = []string{programVolume + "/sallyport-exec", "--from=" + mountPath, "--", psql[0], "-Atc", "SELECT 'I am ' || current_user"}
		create(ctx, pod)
		expectPhase(ctx, pod, corev1.PodSucceeded)
		Expect(logOf(ctx, pod)).To(ConsistOf(HavePrefix("I am v-")))
		remove(ctx, pod)
	}, SpecTimeout(2*eventual))

	It("is started again with the new values in the same container, and ends when the pod does; also with a process namespace that containers share", func(ctx SpecContext) {
		pod := withExec(ctx, t.pod("db"), "--on-change=restart", "--debounce=1s", "--", "/bin/sh", "-c", "exec sleep 3600")
		pod.Spec.ShareProcessNamespace = new(true)
		pod.Spec.TerminationGracePeriodSeconds = new(int64(120))
		create(ctx, pod)
		expectRuns(ctx, pod, eventual)
		expectIn := func(limit time.Duration, value string) {
			GinkgoHelper()
			Eventually(func() bool {
				return slices.ContainsFunc(programs(pod), func(p program) bool {
					return p.name == "sleep" && slices.Contains(p.environment, "DB_password="+value)
				})
			}).WithTimeout(limit).Should(BeTrue())
		}
		expectIn(soon, value)
		value = newSecret("after a change")
		t.put(ctx, "db", map[string]any{"password": value})
		expectIn(eventual, value)
		Expect(api.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		Expect(statusOf(pod, "app").RestartCount).To(BeZero())
		Expect(logOf(ctx, pod)).To(ConsistOf("sallyport-exec: values have changed: /bin/sh is started again\n"))
		begun := time.Now()
		remove(ctx, pod)
		Expect(time.Since(begun)).To(BeNumerically("<", time.Minute), "it was not left to the grace period's end")
	}, SpecTimeout(2*eventual))

	It("has them because its pod asks for it by an annotation", func(ctx SpecContext) {
		server, err := clientset.Discovery().ServerVersion()
		Expect(err).NotTo(HaveOccurred())
		if version.MustParseGeneric(server.GitVersion).LessThan(version.MajorMinor(1, 36)) {
			Skip("Kubernetes " + server.GitVersion + " has no MutatingAdmissionPolicy, and config/injection needs 1.36")
		}
		injection(ctx, "apply")
		DeferCleanup(func(ctx SpecContext) { injection(ctx, "delete") })
		t.put(ctx, "db", map[string]any{"password": value})
		Eventually(ctx, func(g Gomega) { // a policy is in force a moment after it was made
			pod := t.pod("db")
			pod.Annotations = map[string]string{"sallyport.dev/env": "DB_=db", "sallyport.dev/env-flags": "--upper"}
			pod.Spec.Volumes = nil
			pod.Spec.Containers[0].VolumeMounts = nil
			pod.Spec.Containers[0].Command = []string{"/bin/sleep", "3600"}
			g.Expect(api.Create(ctx, pod)).To(Succeed())
			defer remove(ctx, pod)
			g.Expect(pod.Spec.InitContainers).NotTo(BeEmpty())
			expectRuns(ctx, pod, eventual)
			running := programs(pod)
			g.Expect(running).To(HaveLen(1))
			g.Expect(slices.Contains(running[0].environment, "DB_PASSWORD="+value)).To(BeTrue())
		}).WithTimeout(eventual).Should(Succeed())
	}, SpecTimeout(2*eventual))

	DescribeTable("ends as it would by itself", func(ctx SpecContext, code int32, said string, command ...string) {
		for _, arguments := range [][]string{nil, {"--on-change=restart"}} {
			pod := withExec(ctx, t.pod("db"), append(append(arguments, "--"), command...)...)
			create(ctx, pod)
			expectPhase(ctx, pod, corev1.PodFailed)
			Expect(statusOf(pod, "app").State.Terminated.ExitCode).To(Equal(code))
			Expect(strings.Join(logOf(ctx, pod), "")).To(Equal(said))
			remove(ctx, pod)
		}
	},
		Entry("with its exit code", SpecTimeout(eventual), int32(7), "", "/bin/sh", "-c", "exit 7"),
		// Kubernetes makes one dollar of two.
		Entry("by a signal", SpecTimeout(eventual), int32(128+int(syscall.SIGSEGV)), "Segmentation fault\n", "/bin/sh", "-c", "sh -c 'kill -SEGV $$$$'; exit $?"),
		Entry("where it is not there", SpecTimeout(eventual), int32(127), "sallyport-exec: no-such-program: there is no such program in this container\n", "no-such-program"),
	)

	It("is not started where no Connection is mounted, and says so", func(ctx SpecContext) {
		pod := withExec(ctx, t.pod("db"))
		pod.Spec.Containers[0].Command = []string{programVolume + "/sallyport-exec", "--from=/elsewhere", "--", "sleep", "1"}
		create(ctx, pod)
		expectPhase(ctx, pod, corev1.PodFailed)
		Expect(statusOf(pod, "app").State.Terminated.ExitCode).To(Equal(int32(125)))
		Expect(logOf(ctx, pod)).To(ConsistOf("sallyport-exec: there is no /elsewhere that can be read in this container: mount the Connection's volume there (volumeMounts)\n"))
	}, SpecTimeout(eventual))
})

// injection applies or deletes what has sallyport-exec start containers of pods that ask for it.
func injection(ctx context.Context, verb string) {
	GinkgoHelper()
	output, err := exec.CommandContext(ctx, "kubectl", verb, "-f", filepath.Join(paths.checkout, "config", "injection", "environment.yaml")).CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(output))
}

func expectPhase(ctx context.Context, pod *corev1.Pod, phase corev1.PodPhase) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) corev1.PodPhase {
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		return pod.Status.Phase
	}).WithTimeout(eventual).Should(Equal(phase), func() string {
		return fmt.Sprintf("pod %s:\n%s", pod.Name, strings.Join(failedMounts(ctx, pod), "\n")+strconv.Quote(string(pod.Status.Phase)))
	})
}
