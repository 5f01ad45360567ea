package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// answer is what kubectl's plugin printed, and how it ended.
type answer struct {
	Out, Err string
	Code     int
}

// sallyport runs the plugin as a user does, by way of kubectl.
func sallyport(ctx context.Context, args ...string) answer {
	GinkgoHelper()
	command := exec.CommandContext(ctx, "kubectl", append([]string{"sallyport"}, args...)...)
	command.Env = append(os.Environ(), "PATH="+filepath.Join(paths.checkout, "bin")+":"+os.Getenv("PATH"))
	var out, complaints strings.Builder
	command.Stdout, command.Stderr = &out, &complaints
	err := command.Run()
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		Expect(err).NotTo(HaveOccurred())
	}
	return answer{out.String(), complaints.String(), code}
}

// expectSound waits until check finds nothing wrong. VaultConfigs of other specs may still be on their way out.
func expectSound(ctx context.Context) string {
	GinkgoHelper()
	var found answer
	Eventually(ctx, func(g Gomega) {
		found = sallyport(ctx, "check")
		g.Expect(found.Code).To(Equal(0), "%s%s", found.Out, found.Err)
	}).WithTimeout(eventual).WithPolling(time.Second).Should(Succeed())
	return found.Out
}

// single is a Deployment with one pod.
func (t *tenant) single(name, connection string) workload {
	w := t.deployment(name, connection, false)
	w.Object.(*appsv1.Deployment).Spec.Replicas = new(int32(1))
	w.replicas = 1
	return w
}

var _ = Describe("kubectl sallyport on a real node", Ordered, func() {
	var (
		t      *tenant
		orders workload
		pod    *corev1.Pod
	)

	BeforeAll(func(ctx SpecContext) {
		expectProductReady(ctx)
		t = newReadyTenant(ctx)
		t.put(ctx, "db", map[string]any{"password": newSecret("password")})
		db := t.ordinary("db")
		orders = t.single("orders", "db")
		create(ctx, db, orders.Object)
		expectReady(ctx, db)
		orders.expectSettled(ctx, 1)
		pod = orders.pods(ctx)[0]
	}, NodeTimeout(2*eventual))

	It("check finds nothing wrong, and looked at everything", func(ctx SpecContext) {
		Expect(expectSound(ctx)).To(And(
			MatchRegexp(`(?m)^✔ +Kubernetes +v1\.\d+\.\d+`),
			MatchRegexp(`(?m)^✔ +Clock +the API server's and this machine's agree$`),
			MatchRegexp(`(?m)^✔ +Feature gates +those that Sallyport needs are on$`),
			MatchRegexp(`(?m)^✔ +Admission policies +all \d+ are there, and deny$`),
			MatchRegexp(`(?m)^✔ +Controller +2 of 2 replicas are ready, of image \S+$`),
			MatchRegexp(`(?m)^✔ +Certificates +\d+ replicas are published$`),
			MatchRegexp(`(?m)^✔ +Node plugin +1 of 1 pods are ready, of image \S+$`),
			MatchRegexp(`(?m)^✔ +CSIDriver +csi\.sallyport\.dev says what it must$`),
			MatchRegexp(`(?m)^✔ +Nodes +the driver is registered on all 1$`),
			MatchRegexp(`(?m)^✔ +Rights +`),
			MatchRegexp(`(?m)^✔ +Leader +sallyport-controller-\S+$`),
			MatchRegexp(`(?m)^✔ +Vaults +\d+ VaultConfigs; of [1-9]\d* addresses of Vaults, [1-9]\d* are reached$`),
			Not(MatchRegexp(`(?m)^\?`))))
	}, SpecTimeout(eventual+soon))

	It("check names an admission policy that somebody removed, until it is back", func(ctx SpecContext) {
		policy := &admissionregistrationv1.ValidatingAdmissionPolicy{}
		Expect(api.Get(ctx, client.ObjectKey{Name: "sallyport-rollouts"}, policy)).To(Succeed())
		restored := policy.DeepCopy()
		restored.ResourceVersion, restored.UID, restored.ManagedFields = "", "", nil
		restore := func(ctx context.Context) error {
			return client.IgnoreAlreadyExists(api.Create(ctx, restored.DeepCopy()))
		}
		DeferCleanup(func(ctx SpecContext) { Expect(restore(ctx)).To(Succeed()) })
		Expect(api.Delete(ctx, policy)).To(Succeed())

		found := sallyport(ctx, "check")
		Expect(found.Out).To(MatchRegexp(
			`(?m)^✘ +Admission policy sallyport-rollouts +it does not exist, so that what it forbids is allowed: .*admission$`))
		Expect(found).To(And(HaveField("Code", 1), HaveField("Err", BeEmpty())))

		Expect(restore(ctx)).To(Succeed())
		expectSound(ctx)
	}, SpecTimeout(eventual+soon))

	It("check names what the CSIDriver does not say, until it does", func(ctx SpecContext) {
		driver := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DriverName}}
		republish := func(ctx context.Context, on bool) {
			GinkgoHelper()
			change(ctx, driver, func(d *storagev1.CSIDriver) { d.Spec.RequiresRepublish = new(on) })
		}
		DeferCleanup(func(ctx SpecContext) { republish(ctx, true) })
		republish(ctx, false)

		found := sallyport(ctx, "check")
		Expect(found.Out).To(MatchRegexp(
			`(?m)^✘ +CSIDriver +csi\.sallyport\.dev must have requiresRepublish: true: apply config/node$`))
		Expect(found.Code).To(Equal(1))

		republish(ctx, true)
		expectSound(ctx)
	}, SpecTimeout(eventual+soon))

	It("mounts tells which version the running pod has, and status that all is well", func(ctx SpecContext) {
		versions := func(held string) {
			GinkgoHelper()
			Eventually(ctx, func(g Gomega) {
				found := sallyport(ctx, "mounts", "--namespace", t.namespace)
				g.Expect(found.Code).To(Equal(0), found.Err)
				g.Expect(found.Out).To(MatchRegexp(`(?m)^` + t.namespace + ` +db +` + pod.Name + ` +` + builder.VolumeName +
					` +mounted +` + held + ` +\S+ ago$`))
			}).WithTimeout(eventual).WithPolling(time.Second).Should(Succeed())
		}
		versions("1")
		t.put(ctx, "db", map[string]any{"password": newSecret("another password")})
		versions("2")

		found := sallyport(ctx, "status", "--namespace", t.namespace)
		Expect(found.Code).To(Equal(0), "%s%s", found.Out, found.Err)
		Expect(found.Out).To(And(
			MatchRegexp(`(?m)^✔ +Controller +sallyport-system +sallyport-controller +Healthy +- +2 of 2 replicas ready$`),
			MatchRegexp(`(?m)^✔ +NodePlugin +sallyport-system +sallyport-node +Healthy +- +1 of 1 nodes ready$`),
			MatchRegexp(`(?m)^✔ +VaultConfig +`+t.namespace+` +main +Healthy +\S+ +Vault \S+, token expires in \S+$`),
			MatchRegexp(`(?m)^✔ +Connection +`+t.namespace+` +db +Healthy +\S+ +1 volume$`)))
	}, SpecTimeout(2*eventual))

	It("why says of a workload that is well that it is, from the pod to Vault", func(ctx SpecContext) {
		for of, object := range map[string]string{"deploy/orders": "Deployment", "pod/" + pod.Name: "Pod"} {
			found := sallyport(ctx, "why", of, "--namespace", t.namespace)
			Expect(found.Code).To(Equal(0), "%s%s", found.Out, found.Err)
			_, name, _ := strings.Cut(of, "/")
			Expect(found.Out).To(And(
				ContainSubstring("✔ Pod "+t.namespace+"/"+pod.Name+": its volumes are mounted\n"),
				ContainSubstring("✔ Connection "+t.namespace+"/db"),
				MatchRegexp(engine+`/data/`+t.namespace+`/db version 2, written \S+ ago\n`),
				ContainSubstring("mounted by 1 volume, last compared with Vault "),
				ContainSubstring("✔ VaultConfig "+t.namespace+"/main"),
				ContainSubstring("✔ Vault "+vault.Address()),
				HaveSuffix("\nNothing is wrong with "+object+" "+t.namespace+"/"+name+".\n")))
		}
	}, SpecTimeout(soon))

	It("why names the Connection that Vault's policy does not let read, and the one that is missing", func(ctx SpecContext) {
		forbidden := t.connection("forbidden", map[string]any{"password": "vault.secret(password)"},
			builder.VaultSecret("", "nobodys-"+t.namespace+"/db"))
		stuck := t.single("stuck", "forbidden")
		create(ctx, forbidden, stuck.Object)
		alone := t.start(ctx, "missing")
		expectNotReady(ctx, forbidden, v1alpha1.ReasonPermissionDenied)
		Eventually(ctx, func() []*corev1.Pod { return stuck.pods(ctx) }).WithTimeout(soon).Should(HaveLen(1))
		expectFailedMount(ctx, stuck.pods(ctx)[0], v1alpha1.ReasonPermissionDenied, "403 permission denied")
		expectFailedMount(ctx, alone, v1alpha1.ReasonConnectionNotFound, "does not exist")

		why := func(of, object string, sentence ...string) {
			GinkgoHelper()
			found := sallyport(ctx, "why", of, "--namespace", t.namespace)
			Expect(found).To(And(HaveField("Code", 1), HaveField("Err", BeEmpty())))
			Expect(found.Out).To(And(
				MatchRegexp(`(?m)^ *✔ node plugin on node `+alone.Spec.NodeName+`$`),
				MatchRegexp(`(?m)^ *last tried \S+ ago$`),
				ContainSubstring("First wrong: "+object+"\n  "+sentence[0]),
				ContainSubstring(sentence[len(sentence)-1]),
				MatchRegexp(`(?m)^Cure: .`)))
		}
		why("deploy/stuck", "Connection "+t.namespace+"/forbidden",
			v1alpha1.ReasonPermissionDenied+": ", "403 permission denied")
		why("pod/"+alone.Name, "volume "+builder.VolumeName,
			v1alpha1.ReasonConnectionNotFound+": Connection "+t.namespace+"/missing does not exist")

		By("status puts it first")
		found := sallyport(ctx, "status", "--namespace", t.namespace)
		Expect(found.Code).To(Equal(1))
		lines := strings.Split(found.Out, "\n")
		Expect(lines[1]).To(MatchRegexp(`^✘ +Connection +` + t.namespace + ` +forbidden +PermissionDenied +`))
		By("mounts tells who waits")
		Expect(sallyport(ctx, "mounts", "--namespace", t.namespace).Out).To(And(
			MatchRegexp(`(?m)^`+t.namespace+` +missing +`+alone.Name+` +\S+ +no such Connection +- +-$`),
			MatchRegexp(`(?m)^`+t.namespace+` +forbidden +stuck-\S+ +\S+ +waits +`)))
	}, SpecTimeout(2*eventual))
})
