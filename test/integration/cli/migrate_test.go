package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// kubectl runs the real one with something to read.
func kubectl(in string, args ...string) string {
	GinkgoHelper()
	program := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")
	command := exec.CommandContext(context.Background(), program, append([]string{"--kubeconfig", kubeconfig}, args...)...)
	var complaints strings.Builder
	command.Stdin, command.Stderr = strings.NewReader(in), &complaints
	output, err := command.Output()
	Expect(err).NotTo(HaveOccurred(), "kubectl %s: %s", strings.Join(args, " "), &complaints)
	return string(output)
}

// documents are what a command printed.
func documents(text string) []*unstructured.Unstructured {
	GinkgoHelper()
	var all []*unstructured.Unstructured
	for document := range strings.SplitSeq(text, "\n---\n") {
		object := &unstructured.Unstructured{}
		Expect(yaml.Unmarshal([]byte(document), &object.Object)).To(Succeed(), document)
		if len(object.Object) > 0 {
			all = append(all, object)
		}
	}
	return all
}

func object(text string) *unstructured.Unstructured {
	GinkgoHelper()
	found := &unstructured.Unstructured{}
	Expect(json.Unmarshal([]byte(text), &found.Object)).To(Succeed())
	return found
}

// podTemplate of a workload.
func podTemplate(of *unstructured.Unstructured) map[string]any {
	GinkgoHelper()
	path := []string{"spec", "template"}
	if of.GetKind() == "CronJob" {
		path = []string{"spec", "jobTemplate", "spec", "template"}
	}
	found, _, err := unstructured.NestedMap(of.Object, path...)
	Expect(err).NotTo(HaveOccurred())
	Expect(found).NotTo(BeEmpty())
	return found
}

// volumesOf are the names of volumes with the Connections that they hold; without one, with what else they are.
func volumesOf(of *unstructured.Unstructured) map[string]string {
	GinkgoHelper()
	volumes, _, err := unstructured.NestedSlice(podTemplate(of), "spec", "volumes")
	Expect(err).NotTo(HaveOccurred())
	held := map[string]string{}
	for _, one := range volumes {
		volume, _ := one.(map[string]any)
		name, _ := volume["name"].(string)
		Expect(volume).To(HaveLen(2), "a volume has a name and one source")
		for source := range volume {
			if source != "name" {
				held[name] = source
			}
		}
		if driver, _, _ := unstructured.NestedString(volume, "csi", "driver"); driver == v1alpha1.DriverName {
			attributes, _, err := unstructured.NestedStringMap(volume, "csi", "volumeAttributes")
			Expect(err).NotTo(HaveOccurred())
			Expect(attributes).To(HaveLen(1))
			held[name] = "connection " + attributes[v1alpha1.AttributeConnection]
		}
	}
	return held
}

// moved is what became of the objects of a namespace.
type moved struct {
	namespace string
	// made are the VaultConfigs and Connections as they were printed, workloads as the API server has them.
	made, workloads []*unstructured.Unstructured
	report          string
	code            int
}

// move applies manifests of theirs, and what migrate prints of the cluster. Patches must leave the same pod templates as
// whole workloads.
func move(namespace, theirs string, args ...string) *moved {
	GinkgoHelper()
	kubectl(strings.ReplaceAll(theirs, "${NAMESPACE}", namespace), "apply", "--namespace", namespace, "-f", "-")
	migrate := append([]string{"migrate", "-n", namespace}, args...)
	whole, patched := run(migrate...), run(append(migrate, "--patches")...)
	Expect(patched.Err).To(Equal(whole.Err))
	m := &moved{namespace: namespace, report: whole.Err, code: whole.Code}

	templates := map[string]map[string]any{}
	for _, patch := range documents(patched.Out) {
		if patch.GroupVersionKind().Group == v1alpha1.GroupVersion.Group {
			m.made = append(m.made, patch)
			continue
		}
		file := filepath.Join(GinkgoT().TempDir(), "patch.yaml")
		content, err := yaml.Marshal(patch.Object)
		Expect(err).NotTo(HaveOccurred())
		Expect(os.WriteFile(file, content, 0o600)).To(Succeed())
		name := patch.GetKind() + "/" + patch.GetName()
		how := "--type=strategic"
		if patch.GetKind() == "Rollout" {
			how = "--type=merge"
		}
		templates[name] = podTemplate(object(kubectl("", "patch", "--namespace", patch.GetNamespace(), name, "--patch-file", file, how,
			"--dry-run=server", "-o", "json")))
	}
	kubectl(whole.Out, "apply", "-f", "-")
	for name, template := range templates {
		applied := object(kubectl("", "get", "--namespace", namespace, name, "-o", "json"))
		Expect(inOrder(podTemplate(applied))).To(Equal(inOrder(template)), name)
		m.workloads = append(m.workloads, applied)
	}
	for _, left := range documents(run(migrate...).Out) {
		Expect(m.made).To(ContainElement(left), "what is printed once more")
	}
	return m
}

// inOrder sorts what a patch adds before the others and a manifest after them: volumes and mounts, whose order means
// nothing.
func inOrder(template map[string]any) map[string]any {
	GinkgoHelper()
	spec, _ := template["spec"].(map[string]any)
	lists := []any{spec["volumes"]}
	for _, field := range []string{"initContainers", "containers"} {
		containers, _ := spec[field].([]any)
		for _, c := range containers {
			container, _ := c.(map[string]any)
			lists = append(lists, container["volumeMounts"])
		}
	}
	for _, list := range lists {
		named, _ := list.([]any)
		slices.SortFunc(named, func(a, b any) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return template
}

func (m *moved) workload(name string) *unstructured.Unstructured {
	GinkgoHelper()
	for _, w := range m.workloads {
		if w.GetName() == name {
			return w
		}
	}
	Fail("no workload " + name + " was changed")
	return nil
}

// expectReady waits until Vault accepts the logins, and every reference leads somewhere.
func (m *moved) expectReady() {
	GinkgoHelper()
	for _, made := range m.made {
		var one client.Object = &v1alpha1.Connection{}
		if made.GetKind() == "VaultConfig" {
			one = &v1alpha1.VaultConfig{}
		}
		one.SetNamespace(made.GetNamespace())
		one.SetName(made.GetName())
		await(one, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
	}
}

// files are those that a pod would get of a Connection.
func (m *moved) files(connection string) map[string]string {
	GinkgoHelper()
	files := map[string]string{}
	for _, file := range decode[list[shown]](runWith(root(), "", "render", "-n", m.namespace, connection, "--show-values", "-o", "json")).Items {
		files[file.Path] = file.Content
	}
	return files
}

// noEqual are the lines of the report about what was left out.
func (m *moved) noEqual() []string {
	var lines []string
	for line := range strings.Lines(m.report) {
		if strings.HasPrefix(line, "no equal") {
			lines = append(lines, line)
		}
	}
	return lines
}

var _ = Describe("kubectl sallyport migrate, of a cluster", Ordered, func() {
	const auth = "kubernetes-of-migrate"
	var namespace string

	BeforeAll(func() {
		installTheirKinds()
		vault.EnableAuth(auth, "kubernetes")
		DeferCleanup(vault.DisableAuth, auth)
		vault.TrustCluster(ctx, cp, auth, "kubernetes")
	})

	BeforeEach(func() {
		namespace = newNamespace()
		vault.PutKV("secret/data/"+namespace+"/db", map[string]any{"username": "scott", "password": "tiger", "meta": map[string]any{"host": "db"}})
		vault.Write("auth/"+auth+"/role/"+namespace, map[string]any{
			"bound_service_account_names": "web", "bound_service_account_namespaces": namespace, "audience": "vault", "token_policies": "read",
		})
		create(
			builder.Secret(namespace, "vault-ca", map[string]string{"ca.crt": vault.CACertificate()}),
			builder.Secret(namespace, "vault-token", map[string]string{"token": vault.Token(env.TokenOptions{Policies: []string{"read"}, TTL: time.Hour})}),
		)
		kubectl("", "create", "configmap", "vault-ca", "--namespace", namespace, "--from-literal=ca.crt="+vault.CACertificate())
		kubectl("", "create", "serviceaccount", "web", "--namespace", namespace)
	})

	It("moves what mounts SecretProviderClasses", func() {
		m := move(namespace, strings.ReplaceAll(ofProviderClasses, "${ROLE}", namespace), "--vault-url", vault.URL(), "--vault-ca", "vault-ca/ca.crt")
		Expect(m.noEqual()).To(BeEmpty())
		Expect(m.code).To(Equal(0))
		m.expectReady()
		Expect(volumesOf(m.workload("web"))).To(Equal(map[string]string{"vault": "connection db", "scratch": "emptyDir", "config": "configMap"}))
		Expect(volumesOf(m.workload("nightly"))).To(Equal(map[string]string{"vault": "connection db"}))
		Expect(m.files("db")).To(Equal(map[string]string{"type": "generic", "user": "scott", "password": "tiger"}))
	})

	It("moves what mounts Secrets of the Vault Secrets Operator, whose login is in a namespace of its own", func() {
		operator := newNamespace()
		fill := strings.NewReplacer("${ROLE}", namespace, "${OPERATOR}", operator, "${VAULT}", vault.URL(), "${AUTH}", auth)
		kubectl(fill.Replace(ofVaultOperator), "apply", "-f", "-")
		DeferCleanup(func() { kubectl(fill.Replace(ofVaultOperator), "delete", "-f", "-") })
		for _, name := range []string{"db", "orders"} {
			create(builder.Secret(namespace, name, map[string]string{"username": "x", "password": "x", "_raw": "{}"}))
		}
		m := move(namespace, fill.Replace(ofVaultSecrets))
		Expect(m.noEqual()).To(BeEmpty())
		Expect(m.code).To(Equal(0))
		Expect(m.report).To(ContainSubstring("copy Secret vault-ca from " + operator + " to " + namespace))
		Expect(volumesOf(m.workload("agent"))).To(Equal(map[string]string{"db": "connection db", "orders": "connection orders", "other": "secret"}))
		Expect(m.workload("agent").GetAnnotations()).To(HaveKeyWithValue(v1alpha1.AnnotationRestartOnChange, "true"))
		Expect(m.made).To(HaveLen(3))
		config := vault.Config(namespace, "vault")
		await(config, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		Expect(m.files("db")).To(Equal(map[string]string{"type": "generic", "username": "scott", "password": "tiger"}))
	})

	It("moves what mounts Secrets of the External Secrets Operator, with a store of the cluster", func() {
		m := move(namespace, strings.ReplaceAll(ofExternalSecrets, "${VAULT}", vault.URL()))
		Expect(m.noEqual()).To(BeEmpty())
		Expect(m.code).To(Equal(0))
		m.expectReady()
		Expect(volumesOf(m.workload("web"))).To(Equal(map[string]string{"db": "connection db", "login": "connection db-login", "all": "connection all"}))
		Expect(m.files("db")).To(Equal(map[string]string{"type": "generic", "user": "scott", "host": "db", "url": "postgres://scott@db"}))
		Expect(m.files("db-login")).To(Equal(map[string]string{"type": "generic", "login": "scott"}))
		Expect(m.files("all")).To(Equal(map[string]string{"type": "generic", "username": "scott", "password": "tiger", "meta": `{"host":"db"}`}))
	})

	It("moves pods of the agent injector, and leaves out what a controller made of them", func() {
		theirs := strings.NewReplacer("${ROLE}", namespace, "${VAULT}", vault.URL(), "${AUTH}", auth).Replace(ofInjector)
		kubectl(theirs, "apply", "--namespace", namespace, "-f", "-")
		deployment := object(kubectl("", "get", "--namespace", namespace, "deployment/orders", "-o", "json"))
		made := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{"app": "orders"}}, "template": podTemplate(deployment),
		}}}
		made.SetAPIVersion("apps/v1")
		made.SetKind("ReplicaSet")
		made.SetNamespace(namespace)
		made.SetName("orders-1")
		made.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(deployment, deployment.GroupVersionKind())})
		create(made)

		m := move(namespace, theirs)
		Expect(m.noEqual()).To(BeEmpty())
		m.expectReady()
		Expect(m.workloads).To(HaveLen(1))
		orders := m.workload("orders")
		Expect(volumesOf(orders)).To(Equal(map[string]string{"data": "emptyDir", "vault-secrets": "connection orders-vault"}))
		annotations, _, err := unstructured.NestedStringMap(podTemplate(orders), "metadata", "annotations")
		Expect(err).NotTo(HaveOccurred())
		Expect(annotations).To(Equal(map[string]string{"prometheus.io/scrape": "true"}))
		Expect(m.files("orders-vault")).To(Equal(map[string]string{"type": "generic", "db.env": "USER=scott\nPASSWORD=dGlnZXI=\n"}))
	})

	It("moves Rollouts of Argo, and tells of pods that an unknown kind made", func() {
		remove, err := cp.InstallRollouts()
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { Expect(remove()).To(Succeed()) })
		theirs := strings.NewReplacer("${ROLE}", namespace, "${VAULT}", vault.URL(), "${AUTH}", auth).Replace(ofInjector)
		rollout := strings.NewReplacer("apps/v1", "argoproj.io/v1alpha1", "kind: Deployment", "kind: Rollout").Replace(theirs)
		Expect(rollout).NotTo(Equal(theirs))
		pod := builder.Pod(namespace, "odd-1")
		pod.Annotations = map[string]string{"vault.hashicorp.com/agent-inject": "true"}
		pod.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: "apps.kruise.io/v1alpha1", Kind: "CloneSet", Name: "odd", UID: "odd", Controller: new(true),
		}}
		create(pod)

		m := move(namespace, rollout)
		Expect(m.noEqual()).To(ConsistOf(ContainSubstring("CloneSet " + namespace + "/odd, its Pod.metadata.annotations")))
		Expect(m.code).To(Equal(1))
		m.expectReady()
		Expect(m.workloads).To(HaveLen(1))
		Expect(m.workload("orders").GetKind()).To(Equal("Rollout"))
		Expect(volumesOf(m.workload("orders"))).To(Equal(map[string]string{"data": "emptyDir", "vault-secrets": "connection orders-vault"}))
	})

	It("tells of Pods and Jobs that they are made anew, and prints what they can be made of", func() {
		theirs := strings.NewReplacer("${ROLE}", namespace, "${NAMESPACE}", namespace).Replace(ofPodAndJob)
		kubectl(theirs, "apply", "--namespace", namespace, "-f", "-")
		r := run("migrate", "-n", namespace, "--vault-url", vault.URL())
		Expect(r.Code).To(Equal(0), r.Err)
		for _, kind := range []string{"Pod", "Job"} {
			Expect(r.Err).To(ContainSubstring("to do     " + kind + " " + namespace + "/once: the volumes of a " + kind + " cannot be changed: delete it, and apply it whole"))
		}
		kubectl("", "delete", "--namespace", namespace, "pod/once", "job/once", "--cascade=background", "--force", "--grace-period=0")
		kubectl(r.Out, "apply", "-f", "-")
		job := object(kubectl("", "get", "--namespace", namespace, "job/once", "-o", "json"))
		Expect(volumesOf(job)).To(Equal(map[string]string{"vault": "connection db"}))
	})

	It("reads with the rights of who asks, and the keys of no Secret that they may not get", func() {
		theirs := strings.ReplaceAll(ofExternalSecrets, "${NAMESPACE}", namespace)
		kubectl(strings.ReplaceAll(theirs, "${VAULT}", vault.URL()), "apply", "--namespace", namespace, "-f", "-")
		kubectl("", "create", "secret", "generic", "all", "--namespace", namespace, "--from-literal=username=x", "--from-literal=password=x")
		r := run("migrate", "-n", namespace, "--as", "reader")
		Expect(oneSentence(r)).To(And(ContainSubstring(`"reader" cannot list resource`), ContainSubstring("cluster role view")))
		Expect(r.Code).To(Equal(3))

		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader-of-" + namespace}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"external-secrets.io", "secrets-store.csi.x-k8s.io", "secrets.hashicorp.com"}, Resources: []string{"*"}, Verbs: []string{"get", "list"}},
			{APIGroups: []string{"", "apps", "batch", "networking.k8s.io"}, Resources: []string{
				"deployments", "statefulsets", "daemonsets", "replicasets", "jobs", "cronjobs", "pods", "ingresses",
			}, Verbs: []string{"get", "list"}},
		}}
		subject := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "reader"}}
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name}
		create(role, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "reader"}, RoleRef: ref, Subjects: subject})
		Expect(cp.AwaitRights(ctx)).To(Succeed())
		r = run("migrate", "-n", namespace, "--as", "reader")
		Expect(oneSentence(r)).To(ContainSubstring(`"reader" cannot get resource "clustersecretstores"`))
		Expect(r.Code).To(Equal(3))

		stores := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role.Name}, RoleRef: ref, Subjects: subject}
		create(stores)
		DeferCleanup(func() { Expect(cp.Client.Delete(ctx, stores)).To(Succeed()) })
		Expect(cp.AwaitRights(ctx)).To(Succeed())
		spread := func(args ...string) any {
			for _, made := range documents(run(append([]string{"migrate", "-n", namespace}, args...)...).Out) {
				if made.GetKind() == "Connection" && made.GetName() == "all" {
					secrets, _, err := unstructured.NestedSlice(made.Object, "spec", "vaultSecrets")
					Expect(err).NotTo(HaveOccurred())
					Expect(secrets).To(HaveLen(1))
					return secrets[0].(map[string]any)["spread"]
				}
			}
			return "no Connection all"
		}
		Expect(spread("--as", "reader")).To(BeTrue(), "whichever keys Vault has")
		Expect(spread()).To(BeNil(), "those of the Secret")
	})

	It("reads all namespaces, and says when there is nothing", func() {
		r := run("migrate", "-n", namespace)
		Expect(oneSentence(r)).To(ContainSubstring("there is nothing to migrate: the input has no objects"))
		Expect(r.Code).To(Equal(3))
		other := newNamespace()
		for _, of := range []string{namespace, other} {
			kubectl(strings.NewReplacer("${ROLE}", of).Replace(ofProviderClasses), "apply", "--namespace", of, "-f", "-")
		}
		r = run("migrate", "-A", "--vault-url", vault.URL())
		for _, of := range []string{namespace, other} {
			Expect(documents(r.Out)).To(ContainElements(
				And(HaveField("GetKind()", "VaultConfig"), HaveField("GetNamespace()", of)),
				And(HaveField("GetKind()", "Connection"), HaveField("GetNamespace()", of)),
				And(HaveField("GetKind()", "StatefulSet"), HaveField("GetNamespace()", of)),
			))
		}
	})
})
