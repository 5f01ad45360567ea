package cli

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/health"
	"sallyport.dev/sallyport/internal/cli/overview"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// list is what -o json has.
type list[T any] struct {
	Items []T `json:"items"`
}

// part labels what belongs to one of Sallyport's parts.
func part(name string) map[string]string {
	return map[string]string{"app.kubernetes.io/name": "sallyport", "app.kubernetes.io/component": name}
}

// install creates Deployment, DaemonSet and a pod of each, as ready as is said, until the spec ends.
func install(replicas, nodes int32) {
	GinkgoHelper()
	var made []client.Object
	for name, component := range map[string]string{"sallyport-controller": "controller", "sallyport-node": "node"} {
		meta := metav1.ObjectMeta{Namespace: env.Namespace, Name: name, Labels: part(component)}
		selector := &metav1.LabelSelector{MatchLabels: part(component)}
		pod := builder.Pod(env.Namespace, name+"-x", builder.WithNode("node-a"))
		pod.Labels = part(component)
		template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: part(component)}, Spec: pod.Spec}
		ready := corev1.ConditionTrue
		if component == "controller" {
			deployment := &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: new(int32(2)), Selector: selector, Template: template}}
			create(deployment)
			deployment.Status = appsv1.DeploymentStatus{Replicas: 2, ReadyReplicas: replicas}
			Expect(cp.Client.Status().Update(ctx, deployment)).To(Succeed())
			made = append(made, deployment)
		} else {
			set := &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}}
			create(set)
			set.Status = appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, NumberReady: nodes, CurrentNumberScheduled: 2}
			Expect(cp.Client.Status().Update(ctx, set)).To(Succeed())
			made = append(made, set)
			if nodes < 2 {
				ready = corev1.ConditionFalse
			}
		}
		create(pod)
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.Now()}}
		Expect(cp.Client.Status().Update(ctx, pod)).To(Succeed())
		made = append(made, pod)
	}
	DeferCleanup(func() {
		for _, object := range made {
			Expect(client.IgnoreNotFound(cp.Client.Delete(ctx, object, client.GracePeriodSeconds(0)))).To(Succeed())
		}
	})
}

var _ = Describe("kubectl sallyport status", Serial, func() {
	It("lists the sick ones first, with what is wrong, and ends with 1", func() {
		namespace := newNamespace()
		readyConfig(namespace)
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"password": "p"})
		well := builder.Connection(namespace, "well", map[string]any{"password": password}, builder.WithSecret(namespace+"/oracle"))
		sick := builder.Connection(namespace, "zzz", map[string]any{"p": "vault.secret(pasword"}, builder.WithSecret(namespace+"/oracle"))
		off := builder.VaultTask(namespace, "off", v1alpha1.OperationRead, namespace+"/oracle", func(t *v1alpha1.VaultTask) { t.Spec.Suspend = new(true) })
		create(well, sick, off)
		await(well, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		await(sick, v1alpha1.ConditionReady, v1alpha1.ReasonInvalidExpression)
		await(off, v1alpha1.ConditionSuspended, v1alpha1.ReasonSuspended)
		install(2, 2)

		found, code := decoded[list[overview.Row]]("status", "-n", namespace)
		Expect(code).To(Equal(1))
		type brief struct {
			kind, name string
			state      health.State
		}
		var rows []brief
		for _, row := range found.Items {
			rows = append(rows, brief{row.Kind, row.Name, row.State})
		}
		Expect(rows).To(Equal([]brief{
			{"Connection", "zzz", health.Degraded},
			{"VaultTask", "off", health.Suspended},
			{"Controller", "sallyport-controller", health.Healthy},
			{"NodePlugin", "sallyport-node", health.Healthy},
			{"Pod", "sallyport-controller-x", health.Healthy},
			{"Pod", "sallyport-node-x", health.Healthy},
			{"VaultConfig", "main", health.Healthy},
			{"Connection", "well", health.Healthy},
		}))
		Expect(found.Items[0].Reason).To(Equal(v1alpha1.ReasonInvalidExpression))
		Expect(found.Items[0].Since).NotTo(BeNil())

		text := run("status", "-n", namespace)
		Expect(text.Code).To(Equal(1))
		Expect(text.Out).To(And(
			MatchRegexp(`(?m)^✘ +Connection +`+namespace+` +zzz +InvalidExpression +\d+s +not mounted$`),
			MatchRegexp(`(?m)^✔ +Controller +sallyport-system +sallyport-controller +Healthy +- +2 of 2 replicas ready$`),
			ContainSubstring("\nConnection "+namespace+"/zzz\n  InvalidExpression: "),
			Not(ContainSubstring("sallyport-node-x")), Not(ContainSubstring("\x1b"))))
		Expect(run("status", "-n", namespace, "-o", "wide").Out).To(ContainSubstring("sallyport-node-x"))
		Expect(run("status", "-A", "-o", "yaml").Out).To(ContainSubstring("name: zzz"))
	})

	It("shows what is wrong with Sallyport's own parts", func() {
		namespace := newNamespace()
		r := run("status", "-n", namespace)
		Expect(r.Code).To(Equal(1))
		Expect(r.Out).To(And(ContainSubstring("sallyport-node does not exist: Sallyport is not installed as a whole"),
			ContainSubstring("There are no VaultConfigs, Connections or VaultTasks in namespace "+namespace+".")))
		install(0, 1)
		r = run("status", "-n", namespace)
		Expect(r.Code).To(Equal(1))
		Expect(r.Out).To(And(ContainSubstring("none of its replicas is ready"), ContainSubstring("1 of 2 nodes not ready"), ContainSubstring("sallyport-node-x")))
	})

	It("says what one has no right to look at, and ends well in an empty namespace", func() {
		namespace := newNamespace()
		grant(namespace, "viewer", "view")
		r := run("status", "-n", namespace, "--as", "viewer")
		Expect(r.Err).To(BeEmpty())
		Expect(r.Code).To(Equal(0))
		Expect(r.Out).To(And(MatchRegexp(`(?m)^\? +NodePlugin `), ContainSubstring("There are no VaultConfigs")))
	})
})

var _ = Describe("kubectl sallyport mounts", func() {
	It("lists who mounts what, at which version", func() {
		namespace := newNamespace()
		Expect(run("mounts", "-n", namespace)).To(Equal(result{Out: "Nothing mounts a Connection, and there is none in namespace " + namespace + ".\n"}))
		readyConfig(namespace)
		path := "secret/data/" + namespace + "/oracle"
		vault.PutKV(path, map[string]any{"password": "p"})
		vault.PutKV(path, map[string]any{"password": "q"})
		oracle := builder.Connection(namespace, "oracle", map[string]any{"password": password}, builder.WithSecret(namespace+"/oracle"))
		unused := builder.Connection(namespace, "unused", map[string]any{"host": "db"})
		create(oracle, unused)
		await(oracle, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		await(unused, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		// What the resolver's replicas write when a node plugin asks them.
		oracle.Status.Mounts = &v1alpha1.ConnectionMounts{
			Volumes: new(int32(2)), LastRefreshTime: new(metav1.Now()),
			Secrets:  []v1alpha1.ServedSecret{{Path: path, OldestVersion: 1, NewestVersion: 2}},
			Replicas: []v1alpha1.ReplicaMounts{{Name: "sallyport-controller-0", Volumes: 2}},
		}
		Expect(cp.Client.Status().Update(ctx, oracle)).To(Succeed())
		a := builder.Pod(namespace, "a", builder.WithConnection(map[string]string{"connection": "oracle"}))
		b := builder.Pod(namespace, "b", builder.WithConnection(map[string]string{"connection": "gone"}))
		create(a, b, builder.Pod(namespace, "other"))
		started(a)

		found, code := decoded[list[overview.Mount]]("mounts", "-n", namespace)
		Expect(code).To(Equal(0))
		Expect(found.Items).To(HaveExactElements(
			And(HaveField("Connection", "gone"), HaveField("Pod", "b"), HaveField("Missing", true), HaveField("Waits", true)),
			And(HaveField("Connection", "oracle"), HaveField("Pod", "a"), HaveField("Volume", builder.VolumeName), HaveField("Waits", false),
				HaveField("Secrets", []overview.Held{{Path: path, Oldest: 1, Newest: 2, Latest: 2}})),
			And(HaveField("Connection", "unused"), HaveField("Pod", ""))))
		text := run("mounts", "-n", namespace).Out
		Expect(text).To(And(
			MatchRegexp(`(?m)^`+namespace+` +oracle +a +connection +mounted +1 to 2 +\d+s ago$`),
			MatchRegexp(`(?m)^`+namespace+` +gone +b +connection +no such Connection +- +-$`),
			MatchRegexp(`(?m)^`+namespace+` +unused +- +- +not mounted `)))
		Expect(run("mounts", "-A", "-o", "wide").Out).To(ContainSubstring(path))
	})
})
