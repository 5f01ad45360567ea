package cli

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/diagnosis"
	"sallyport.dev/sallyport/internal/cli/health"
	"sallyport.dev/sallyport/test/builder"
)

const password = "vault.secret(password)"

func why(namespace, object string) (*diagnosis.Diagnosis, int) {
	GinkgoHelper()
	return decoded[*diagnosis.Diagnosis]("why", "-n", namespace, object)
}

// expectCause expects that a diagnosis names an object, with its reason, and that the text says the same.
func expectCause(namespace, of, object, reason, sentence string) *diagnosis.Diagnosis {
	GinkgoHelper()
	found, code := why(namespace, of)
	Expect(code).To(Equal(1))
	Expect(found.Healthy).To(BeFalse())
	Expect(found.Cause).NotTo(BeNil())
	Expect(found.Cause.Object).To(Equal(object), "%+v", found.Cause)
	Expect(found.Cause.Reason).To(Equal(reason), "%+v", found.Cause)
	Expect(found.Cause.Message).To(ContainSubstring(sentence))
	text := run("why", "-n", namespace, of)
	Expect(text.Code).To(Equal(1))
	Expect(text.Err).To(BeEmpty())
	Expect(text.Out).To(ContainSubstring("First wrong: " + object + "\n"))
	Expect(text.Out).To(ContainSubstring(found.Cause.Message))
	Expect(text.Out).NotTo(ContainSubstring("\x1b"), "no colours but for a terminal")
	return found
}

// onNodeA says that the driver is registered on a node.
func onNodeA() *storagev1.CSINode {
	return &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: "node-a"},
		Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: v1alpha1.DriverName, NodeID: "node-a"}}},
	}
}

// podOnNode is a pod that waits for its volume on a node where the driver is registered.
func podOnNode(namespace string, attributes map[string]string, options ...func(*corev1.Pod)) *corev1.Pod {
	GinkgoHelper()
	Expect(client.IgnoreAlreadyExists(cp.Client.Create(ctx, onNodeA()))).To(Succeed())
	options = append([]func(*corev1.Pod){builder.WithNode("node-a"), builder.WithConnection(attributes)}, options...)
	pod := builder.Pod(namespace, "orders", options...)
	create(pod)
	return pod
}

// failedMount is what a kubelet reports.
func failedMount(pod *corev1.Pod, sentence string) {
	GinkgoHelper()
	create(&corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: pod.Namespace, GenerateName: "event-"},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Reason:         "FailedMount", Type: corev1.EventTypeWarning, LastTimestamp: metav1.Now(),
		Message: `MountVolume.SetUp failed for volume "connection" : rpc error: code = FailedPrecondition desc = ` + sentence,
	})
}

func started(pod *corev1.Pod) {
	GinkgoHelper()
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "app", Image: "app", ImageID: "x", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
	}}
	Expect(cp.Client.Status().Update(ctx, pod)).To(Succeed())
}

var _ = Describe("kubectl sallyport why", func() {
	var (
		namespace string
		oracle    = func(options ...func(*v1alpha1.Connection)) *v1alpha1.Connection {
			options = append([]func(*v1alpha1.Connection){builder.WithSecret(namespace + "/oracle")}, options...)
			return builder.Connection(namespace, "oracle", map[string]any{"password": password, "host": "db"}, options...)
		}
		attributes = map[string]string{"connection": "oracle"}
	)

	BeforeEach(func() {
		namespace = newNamespace()
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"password": "p"})
	})

	It("says of what is well that it is, with versions and ages", func() {
		readyConfig(namespace)
		c := oracle()
		create(c)
		await(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		started(podOnNode(namespace, attributes))

		found, code := why(namespace, "pod/orders")
		Expect(code).To(Equal(0))
		Expect(found.Healthy).To(BeTrue())
		Expect(found.Cause).To(BeNil())
		objects := []string{}
		for _, step := range found.Steps {
			objects = append(objects, step.Object)
		}
		Expect(objects).To(Equal([]string{
			"Pod " + namespace + "/orders", "volume connection", "Connection " + namespace + "/oracle",
			"VaultConfig " + namespace + "/main", "Vault " + vault.URL(),
		}))
		text := run("why", "-n", namespace, "pod", "orders")
		Expect(text).To(And(HaveField("Code", 0), HaveField("Err", "")))
		Expect(text.Out).To(And(
			MatchRegexp(`secret/data/`+namespace+`/oracle version 1, written \d+s ago`),
			MatchRegexp(`token expires in 5\dm|token expires in 60m`),
			MatchRegexp(`version 1\.\d+\.\d+`),
			HaveSuffix("\nNothing is wrong with Pod "+namespace+"/orders.\n")))
		Expect(text.Out).NotTo(ContainSubstring("\x1b"))
	})

	It("follows everything that waits for a Vault to that Vault", func() {
		const nowhere = "https://127.0.0.1:1"
		config := builder.VaultConfig(namespace, builder.ConfigName, builder.WithAddress(nowhere, vault.CACertificate()))
		c := oracle()
		create(builder.TokenSecret(namespace, builder.TokenSecretName, "t"), config, c)
		await(config, v1alpha1.ConditionReady, v1alpha1.ReasonVaultUnreachable)
		await(c, v1alpha1.ConditionReady, v1alpha1.ReasonVaultUnreachable)
		pod := podOnNode(namespace, attributes)
		failedMount(pod, "VaultUnreachable: Connection x/oracle: no answer")
		task := builder.VaultTask(namespace, "task", v1alpha1.OperationRead, "oracle")
		create(task)
		await(task, v1alpha1.ConditionReady, v1alpha1.ReasonVaultUnreachable)

		for _, of := range []string{"pod/orders", "connection/oracle", "vaultconfig/main", "vaulttask/task"} {
			found := expectCause(namespace, of, "Vault "+nowhere, v1alpha1.ReasonVaultUnreachable, "connection refused")
			Expect(found.Cure).To(ContainSubstring("check spec.url and spec.proxy"))
		}
	})

	It("names the VaultConfig whose token Vault does not accept, and the one that is switched off", func() {
		config := vault.Config(namespace, builder.ConfigName)
		c := oracle()
		create(builder.TokenSecret(namespace, builder.TokenSecretName, "wrong"), config, c)
		await(c, v1alpha1.ConditionReady, v1alpha1.ReasonAuthFailed)
		expectCause(namespace, "connection/oracle", "VaultConfig "+namespace+"/main", v1alpha1.ReasonAuthFailed, "put a new token into Secret "+namespace+"/vault-token")

		Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(config), config)).To(Succeed())
		config.Spec.Enabled = new(false)
		Expect(cp.Client.Update(ctx, config)).To(Succeed())
		await(config, v1alpha1.ConditionSuspended, v1alpha1.ReasonConfigDisabled)
		expectCause(namespace, "connection/oracle", "VaultConfig "+namespace+"/main", v1alpha1.ReasonConfigDisabled, "is disabled")
	})

	It("names what is wrong with the Connection itself, in the words of its status", func() {
		readyConfig(namespace)
		c := builder.Connection(namespace, "oracle", map[string]any{"p": "vault.secret(pasword)"}, builder.WithSecret(namespace+"/oracle"))
		create(c)
		await(c, v1alpha1.ConditionReady, v1alpha1.ReasonKeyMissing)
		podOnNode(namespace, attributes)
		expectCause(namespace, "pod/orders", "Connection "+namespace+"/oracle", v1alpha1.ReasonKeyMissing, `no attached secret has the key "pasword"`)
	})

	It("names the Connection that refers to a VaultConfig that does not exist, and the volume whose Connection does not", func() {
		c := oracle()
		create(c)
		await(c, v1alpha1.ConditionReady, v1alpha1.ReasonConfigNotFound)
		expectCause(namespace, "connection/oracle", "Connection "+namespace+"/oracle", v1alpha1.ReasonConfigNotFound, "does not exist")

		podOnNode(namespace, map[string]string{"connection": "other"})
		expectCause(namespace, "pod/orders", "Connection "+namespace+"/other", v1alpha1.ReasonConnectionNotFound, "does not exist")
	})

	It("says what the kubelet was told when the Connection is well and its volume is not", func() {
		readyConfig(namespace)
		c := oracle()
		create(c)
		await(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		pod := podOnNode(namespace, attributes)
		failedMount(pod, "NodeFull: the memory set aside for volumes is used up; move pods")
		expectCause(namespace, "pod/orders", "volume connection", v1alpha1.ReasonNodeFull, "the memory set aside for volumes is used up; move pods")

		By("and nothing of it once the pod has started")
		started(pod)
		found, code := why(namespace, "pod/orders")
		Expect(code).To(Equal(0), "%+v", found.Cause)
	})

	DescribeTable("says why a volume will be refused before anybody tries", func(attribute, value, reason, sentence string, options ...func(*v1alpha1.Connection)) {
		readyConfig(namespace)
		c := oracle(options...)
		create(c)
		await(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		podOnNode(namespace, map[string]string{"connection": "oracle", attribute: value})
		expectCause(namespace, "pod/orders", "volume connection", reason, sentence)
	},
		Entry("its service account is not allowed", "value.host", "x", v1alpha1.ReasonNotAllowed, `service account "default" is not in allowedServiceAccounts`,
			func(c *v1alpha1.Connection) { c.Spec.AllowedServiceAccounts = []string{"other"} }),
		Entry("it overrides what is not there", "value.hots", "x", v1alpha1.ReasonUnknownOverride, `it overrides key "hots"`),
	)

	It("names the node plugin that is not there", func() {
		readyConfig(namespace)
		c := oracle()
		create(c, &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		await(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		create(builder.Pod(namespace, "orders", builder.WithNode(namespace), builder.WithConnection(attributes)))
		expectCause(namespace, "pod/orders", "node plugin on node "+namespace, "", "is not registered on node "+namespace)
	})

	It("follows a Deployment to the pod that is stuck, and says why it has none", func() {
		readyConfig(namespace)
		labels := map[string]string{"app": "orders"}
		template := builder.Pod(namespace, "orders", builder.WithConnection(attributes))
		deployment := &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "orders"},
			Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: template.Spec},
			},
		}
		create(deployment)
		expectCause(namespace, "deploy/orders", "Connection "+namespace+"/oracle", v1alpha1.ReasonConnectionNotFound, "does not exist")
		c := oracle()
		create(c)
		await(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		Expect(first(why(namespace, "deployments.apps/orders")).Healthy).To(BeTrue())

		deployment.Status.Conditions = []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "pods are forbidden: exceeded quota",
		}}
		Expect(cp.Client.Status().Update(ctx, deployment)).To(Succeed())
		expectCause(namespace, "deploy/orders", "Deployment "+namespace+"/orders", "", "exceeded quota")
		deployment.Status.Conditions = nil
		Expect(cp.Client.Status().Update(ctx, deployment)).To(Succeed())

		set := &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "orders-1", OwnerReferences: owner(deployment, "Deployment", "apps/v1")},
			Spec:       appsv1.ReplicaSetSpec{Selector: deployment.Spec.Selector, Template: deployment.Spec.Template},
		}
		create(set)
		well := builder.Pod(namespace, "orders-1-a", builder.WithConnection(attributes), owned(set), builder.WithNode("node-a"))
		stuck := builder.Pod(namespace, "orders-1-b", builder.WithConnection(attributes), owned(set), builder.WithNode("node-a"))
		create(well, stuck)
		started(well)
		failedMount(stuck, "NodeBusy: as many volumes of the namespace as a node mounts at once")
		expectCause(namespace, "deploy/orders", "volume connection", v1alpha1.ReasonNodeBusy, "as many volumes")
		Expect(run("why", "-n", namespace, "deploy/orders").Out).To(ContainSubstring("2 pods, 1 pod not started"))
	})

	DescribeTable("follows every kind that makes pods", func(kind, short string, build func(metav1.ObjectMeta, corev1.PodTemplateSpec) client.Object) {
		if kind == "Rollout" {
			installRollouts()
		}
		readyConfig(namespace)
		template := corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "orders"}},
			Spec:       builder.Pod(namespace, "orders", builder.WithConnection(attributes)).Spec,
		}
		workload := build(metav1.ObjectMeta{Namespace: namespace, Name: "orders"}, template)
		create(workload)
		By("to what its template mounts, while it has no pods")
		expectCause(namespace, short+"/orders", "Connection "+namespace+"/oracle", v1alpha1.ReasonConnectionNotFound, "does not exist")
		c := oracle()
		create(c)
		await(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		text := run("why", "-n", namespace, short+"/orders")
		Expect(text.Code).To(Equal(0), text.Out)
		Expect(text.Out).To(And(HavePrefix("✔ "+kind+" "+namespace+"/orders: it has no pods\n"),
			HaveSuffix("\nNothing is wrong with "+kind+" "+namespace+"/orders.\n")))

		By("to the pod that is stuck, and not to one that has ended")
		of := workload
		if kind == "CronJob" {
			of = &batchv1.Job{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "orders-1", OwnerReferences: owner(workload, kind, "batch/v1")},
				Spec:       batchv1.JobSpec{Template: workload.(*batchv1.CronJob).Spec.JobTemplate.Spec.Template},
			}
			create(of)
		}
		gvk, err := cp.Client.GroupVersionKindFor(of)
		Expect(err).NotTo(HaveOccurred())
		controlled := func(p *corev1.Pod) { p.OwnerReferences = owner(of, gvk.Kind, gvk.GroupVersion().String()) }
		pod := func(name string) *corev1.Pod {
			p := builder.Pod(namespace, name, builder.WithConnection(attributes), controlled, builder.WithNode("node-a"))
			create(p)
			return p
		}
		Expect(client.IgnoreAlreadyExists(cp.Client.Create(ctx, onNodeA()))).To(Succeed())
		ended := pod("ended")
		ended.Status.Phase = corev1.PodFailed
		Expect(cp.Client.Status().Update(ctx, ended)).To(Succeed())
		started(pod("well"))
		stuck := pod("stuck")
		failedMount(stuck, "NodeBusy: as many volumes of the namespace as a node mounts at once")
		found := expectCause(namespace, short+"/orders", "volume connection", v1alpha1.ReasonNodeBusy, "as many volumes")
		Expect(found.Steps[0].Details).To(ConsistOf("2 pods, 1 pod not started"))
		Expect(found.Steps[1].Object).To(Equal("Pod " + namespace + "/stuck"))

		By("and says that all is well once it has started")
		started(stuck)
		Expect(run("why", "-n", namespace, short, "orders").Code).To(Equal(0))
	},
		Entry("StatefulSet", "StatefulSet", "sts", func(of metav1.ObjectMeta, template corev1.PodTemplateSpec) client.Object {
			return &appsv1.StatefulSet{ObjectMeta: of, Spec: appsv1.StatefulSetSpec{Selector: selecting(template), Template: template}}
		}),
		Entry("DaemonSet", "DaemonSet", "ds", func(of metav1.ObjectMeta, template corev1.PodTemplateSpec) client.Object {
			return &appsv1.DaemonSet{ObjectMeta: of, Spec: appsv1.DaemonSetSpec{Selector: selecting(template), Template: template}}
		}),
		Entry("ReplicaSet", "ReplicaSet", "rs", func(of metav1.ObjectMeta, template corev1.PodTemplateSpec) client.Object {
			return &appsv1.ReplicaSet{ObjectMeta: of, Spec: appsv1.ReplicaSetSpec{Selector: selecting(template), Template: template}}
		}),
		Entry("Job", "Job", "job", func(of metav1.ObjectMeta, template corev1.PodTemplateSpec) client.Object {
			template.Spec.RestartPolicy = corev1.RestartPolicyNever
			return &batchv1.Job{ObjectMeta: of, Spec: batchv1.JobSpec{Template: template}}
		}),
		Entry("CronJob", "CronJob", "cj", func(of metav1.ObjectMeta, template corev1.PodTemplateSpec) client.Object {
			template.Spec.RestartPolicy = corev1.RestartPolicyNever
			return &batchv1.CronJob{ObjectMeta: of, Spec: batchv1.CronJobSpec{
				Schedule: "0 0 1 1 *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}},
			}}
		}),
		Entry("Rollout of Argo", "Rollout", "ro", func(of metav1.ObjectMeta, template corev1.PodTemplateSpec) client.Object {
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&template)
			Expect(err).NotTo(HaveOccurred())
			return rollout(of, map[string]any{
				"selector": map[string]any{"matchLabels": map[string]any{"app": "orders"}}, "template": content,
			})
		}),
	)

	It("says why a Rollout has no pods: the Deployment that has its template, what Argo says, or no such kind", func() {
		// Another spec's CRD may be on its way out.
		Eventually(func() result { return run("why", "-n", namespace, "rollout/orders") }).Should(And(HaveField("Out", ""),
			HaveField("Err", "kubectl sallyport: the cluster knows no such kind of argoproj.io: what defines it is not installed\n")))

		installRollouts()
		readyConfig(namespace)
		rollout := rollout(metav1.ObjectMeta{Namespace: namespace, Name: "orders"}, map[string]any{
			"workloadRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders-template"},
		})
		create(rollout)
		expectCause(namespace, "ro/orders", "Rollout "+namespace+"/orders", "", "names Deployment orders-template, which does not exist")

		template := corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "orders"}},
			Spec:       builder.Pod(namespace, "orders", builder.WithConnection(attributes)).Spec,
		}
		create(&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "orders-template"},
			Spec:       appsv1.DeploymentSpec{Replicas: new(int32(0)), Selector: selecting(template), Template: template},
		})
		expectCause(namespace, "rollouts.argoproj.io/orders", "Connection "+namespace+"/oracle", v1alpha1.ReasonConnectionNotFound, "does not exist")

		Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(rollout), rollout)).To(Succeed())
		rollout.Object["status"] = map[string]any{"conditions": []any{map[string]any{
			"type": "InvalidSpec", "status": "True", "reason": "InvalidSpec", "message": "The Rollout is invalid: no strategy",
			"lastTransitionTime": "2026-01-01T00:00:00Z", "lastUpdateTime": "2026-01-01T00:00:00Z",
		}}}
		Expect(cp.Client.Status().Update(ctx, rollout)).To(Succeed())
		c := oracle()
		create(c)
		await(c, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		expectCause(namespace, "rollout/orders", "Rollout "+namespace+"/orders", "", "no strategy")
	})

	It("says what became of a VaultTask", func() {
		readyConfig(namespace)
		done := builder.VaultTask(namespace, "done", v1alpha1.OperationRead, namespace+"/oracle")
		waits := builder.VaultTask(namespace, "waits", v1alpha1.OperationRead, "oracle", func(t *v1alpha1.VaultTask) { t.Spec.Suspend = new(true) })
		create(done, waits)
		await(done, v1alpha1.ConditionComplete, v1alpha1.ReasonSucceeded)
		await(waits, v1alpha1.ConditionSuspended, v1alpha1.ReasonSuspended)
		Expect(first(why(namespace, "vaulttask/done")).Steps[0].State).To(Equal(health.Healthy))
		expectCause(namespace, "vaulttask/waits", "VaultTask "+namespace+"/waits", v1alpha1.ReasonSuspended, "suspend")
	})

	It("says of what mounts no Connection that Sallyport has no part in it", func() {
		create(builder.Pod(namespace, "other"))
		text := run("why", "-n", namespace, "po/other")
		Expect(text.Code).To(Equal(0))
		Expect(text.Out).To(ContainSubstring("Sallyport has no part in it"))
	})

	It("looks at everything once, and watches nothing", func() {
		readyConfig(namespace)
		transport, err := rest.TransportFor(cp.Config)
		Expect(err).NotTo(HaveOccurred())
		target, err := url.Parse(cp.Config.Host)
		Expect(err).NotTo(HaveOccurred())
		var mu sync.Mutex
		asked := map[string]int{}
		forward := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
		counting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			asked[r.Method+" "+r.URL.String()]++
			mu.Unlock()
			forward.ServeHTTP(w, r)
		}))
		DeferCleanup(counting.Close)
		r := run("why", "-n", namespace, "vaultconfig/main", "--kubeconfig", write(&rest.Config{Host: counting.URL}))
		Expect(r.Code).To(Equal(0), r.Err)
		mu.Lock()
		defer mu.Unlock()
		Expect(asked).NotTo(BeEmpty())
		for request, times := range asked {
			Expect(request).NotTo(ContainSubstring("watch"))
			Expect(times).To(Equal(1), request)
		}
	})
})

// installRollouts has the API server know Argo's Rollouts until the spec ends.
func installRollouts() {
	GinkgoHelper()
	remove, err := cp.InstallRollouts()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(remove()).To(Succeed()) })
}

func rollout(of metav1.ObjectMeta, spec map[string]any) *unstructured.Unstructured {
	made := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	made.SetAPIVersion("argoproj.io/v1alpha1")
	made.SetKind("Rollout")
	made.SetNamespace(of.Namespace)
	made.SetName(of.Name)
	return made
}

func first(d *diagnosis.Diagnosis, _ int) *diagnosis.Diagnosis { return d }

func owner(object client.Object, kind, version string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: version, Kind: kind, Name: object.GetName(), UID: object.GetUID(), Controller: new(true)}}
}

// selecting finds the pods of a template.
func selecting(template corev1.PodTemplateSpec) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: template.Labels}
}

func owned(set *appsv1.ReplicaSet) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.OwnerReferences = owner(set, "ReplicaSet", "apps/v1") }
}

// oneSentence expects one line, of the program, and nothing on its output.
func oneSentence(r result) string {
	GinkgoHelper()
	Expect(r.Out).To(BeEmpty())
	Expect(r.Err).To(HavePrefix("kubectl sallyport: "))
	Expect(strings.Count(r.Err, "\n")).To(Equal(1), r.Err)
	return r.Err
}
