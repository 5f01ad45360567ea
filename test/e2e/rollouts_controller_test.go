package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// startRollouts installs Argo Rollouts' CRDs and starts its real controller as a program of the node, until the end of the
// spec.
func startRollouts(ctx context.Context, program string) {
	GinkgoHelper()
	crds := filepath.Join(setting("ARGO_ROLLOUTS"), "manifests", "crds")
	DeferCleanup(func(ctx SpecContext) {
		kubectl(ctx, "delete", "--ignore-not-found", "--timeout=60s", "--kustomize", crds)
	}, NodeTimeout(2*eventual))
	kubectl(ctx, "apply", "--server-side", "--kustomize", crds)
	expectEstablished(ctx, "crd/rollouts.argoproj.io")

	log, err := os.Create(filepath.Join(paths.logs(), "rollouts-controller.log"))
	Expect(err).NotTo(HaveOccurred())
	// The controller outlives the spec's own time.
	command := exec.CommandContext(context.WithoutCancel(ctx), program, "--kubeconfig", setting("KUBECONFIG"), "--leader-elect=false",
		"--metricsport", "18090", "--healthzPort", "18091")
	command.Stdout, command.Stderr = log, log
	Expect(command.Start()).To(Succeed())
	DeferCleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = log.Close()
	})
	expectListens(ctx, "127.0.0.1:18091")
}

// Only hack/test.sh rollouts runs it, which builds the controller of Argo Rollouts: ROLLOUTS_BINARY.
var _ = func() bool {
	program := os.Getenv("ROLLOUTS_BINARY")
	if program == "" {
		return false
	}
	return Describe("The controller of Argo Rollouts", Serial, func() {
		It("restarts the pods of a Rollout for a change in Vault, as the version that they are, without a step of the canary", func(ctx SpecContext) {
			expectProductReady(ctx)
			startRollouts(ctx, program)
			t := newReadyTenant(ctx)
			value := newSecret("password")
			t.put(ctx, "db", map[string]any{"password": value})
			connection := t.connection("db", map[string]any{"password": "vault.secret(password)"}, t.secretAt("db"))
			create(ctx, connection)
			expectReady(ctx, connection)

			meta, selector, template := t.template("canary", "db")
			meta.Annotations = optInToRestarts()
			// A Rollout has the fields of a Deployment, and its strategy besides.
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&appsv1.Deployment{
				ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: new(int32(2)), Selector: selector, Template: template},
			})
			Expect(err).NotTo(HaveOccurred())
			delete(content, "status")
			rollout := &unstructured.Unstructured{Object: content}
			rollout.SetAPIVersion("argoproj.io/v1alpha1")
			rollout.SetKind("Rollout")
			// A new version would stop at half of the pods until somebody promotes it.
			steps := []any{map[string]any{"setWeight": int64(50)}, map[string]any{"pause": map[string]any{}}}
			Expect(unstructured.SetNestedSlice(content, steps, "spec", "strategy", "canary", "steps")).To(Succeed())
			create(ctx, rollout)
			w := workload{Object: rollout, replicas: 2}
			expectHealthy := func(g Gomega) {
				g.Expect(api.Get(ctx, client.ObjectKeyFromObject(rollout), rollout)).To(Succeed())
				phase, _, _ := unstructured.NestedString(rollout.Object, "status", "phase")
				g.Expect(phase).To(Equal("Healthy"))
				pods := w.pods(ctx)
				g.Expect(pods).To(HaveLen(w.replicas))
				for _, pod := range pods {
					g.Expect(isRunning(pod)).To(BeTrue(), "pod %s", pod.Name)
				}
			}
			Eventually(ctx, func(g Gomega) {
				expectHealthy(g)
				g.Expect(rollout.GetAnnotations()).To(HaveKey(v1alpha1.AnnotationSeen))
			}).WithTimeout(atLast).Should(Succeed())
			first := w.podUIDs(ctx)

			value = newSecret("password, changed once")
			t.put(ctx, "db", map[string]any{"password": value})
			Eventually(ctx, func(g Gomega) {
				expectHealthy(g)
				for _, uid := range w.podUIDs(ctx) {
					g.Expect(first).NotTo(ContainElement(uid))
				}
				asked, _, _ := unstructured.NestedString(rollout.Object, "spec", "restartAt")
				done, _, _ := unstructured.NestedString(rollout.Object, "status", "restartedAt")
				g.Expect(asked).NotTo(BeEmpty())
				g.Expect(done).To(Equal(asked))
			}).WithTimeout(atLast).Should(Succeed())
			for _, pod := range w.pods(ctx) {
				expectFile(pod, "password", value)
			}
			sets := &appsv1.ReplicaSetList{}
			Expect(api.List(ctx, sets, client.InNamespace(t.namespace))).To(Succeed())
			Expect(sets.Items).To(HaveLen(1), "one version")
			Expect(eventsOf(ctx, rollout, v1alpha1.ReasonRestarted)).To(HaveLen(1))
		}, SpecTimeout(4*atLast))
	})
}()
