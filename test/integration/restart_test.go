package integration

import (
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// podTemplate mounts the Connections.
func podTemplate(connections ...string) corev1.PodTemplateSpec {
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "app"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	for _, name := range connections {
		template.Spec.Volumes = append(template.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			CSI: &corev1.CSIVolumeSource{Driver: v1alpha1.DriverName, VolumeAttributes: map[string]string{"connection": name}},
		}})
	}
	return template
}

// workloads are one of each kind that ask for restarts, and a Deployment that does not.
func workloads(namespace string, connections ...string) []client.Object {
	meta := func(name, asks string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{
			v1alpha1.AnnotationRestartOnChange: asks, v1alpha1.AnnotationRestartMinInterval: "0s",
		}}
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "app"}}
	template := podTemplate(connections...)
	return []client.Object{
		&appsv1.Deployment{ObjectMeta: meta("asks", "true"), Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}},
		&appsv1.StatefulSet{ObjectMeta: meta("asks", "true"), Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template}},
		&appsv1.DaemonSet{ObjectMeta: meta("asks", "true"), Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}},
		&appsv1.Deployment{ObjectMeta: meta("does-not", "false"), Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}},
	}
}

// finish says what the workload's own controller says when the roll-out is complete.
func finish(workload client.Object) {
	GinkgoHelper()
	switch w := workload.(type) {
	case *appsv1.Deployment:
		w.Status = appsv1.DeploymentStatus{ObservedGeneration: w.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
	case *appsv1.StatefulSet:
		w.Status = appsv1.StatefulSetStatus{ObservedGeneration: w.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
	case *appsv1.DaemonSet:
		w.Status.ObservedGeneration = w.Generation
	}
	Expect(cp.Client.Status().Update(ctx, workload)).To(Succeed())
}

func annotate(object client.Object, key, value string) {
	annotations := object.GetAnnotations()
	annotations[key] = value
	object.SetAnnotations(annotations)
}

// restartedFor returns the annotation in the workload's pod template, and the one of the workload itself.
func restartedFor(g Gomega, workload client.Object) (template, seen string) {
	g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(workload), workload)).To(Succeed())
	seen = workload.GetAnnotations()[v1alpha1.AnnotationSeen]
	switch w := workload.(type) {
	case *appsv1.Deployment:
		return w.Spec.Template.Annotations[v1alpha1.AnnotationRestartedFor], seen
	case *appsv1.StatefulSet:
		return w.Spec.Template.Annotations[v1alpha1.AnnotationRestartedFor], seen
	case *appsv1.DaemonSet:
		return w.Spec.Template.Annotations[v1alpha1.AnnotationRestartedFor], seen
	}
	return "", ""
}

var _ = Describe("A workload with restart-on-change", func() {
	var namespace string

	BeforeEach(func() {
		namespace = newNamespace()
		readyConfig(namespace)
	})

	It("is rolled once when a Connection that its pods mount changes, and by nothing else", func() {
		path := "secret/data/" + namespace + "/oracle"
		vault.PutKV(path, map[string]any{"password": canary()})
		c := builder.Connection(namespace, "oracle", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"), builder.WithShortestRefresh)
		create(c, builder.Connection(namespace, "other", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"), builder.WithShortestRefresh))
		all := workloads(namespace, "oracle", "missing")
		create(all...)
		asking, silent := all[:3], all[3]

		By("noting what there is, at first")
		for _, workload := range asking {
			Eventually(func(g Gomega) {
				template, seen := restartedFor(g, workload)
				g.Expect(seen).To(MatchRegexp(`^oracle=2[.][-_A-Za-z0-9]{12}$`))
				g.Expect(template).To(BeEmpty(), "a workload is not rolled because it begins to ask")
			}).Should(Succeed())
		}

		By("a new version in Vault")
		vault.PutKV(path, map[string]any{"password": canary()})
		rolled := map[client.Object]string{}
		for _, workload := range asking {
			before := workload.GetAnnotations()[v1alpha1.AnnotationSeen]
			Eventually(func(g Gomega) {
				template, seen := restartedFor(g, workload)
				g.Expect(template).To(And(Equal(seen), Not(BeEmpty()), Not(Equal(before))))
			}).Should(Succeed())
			expectEvent(workload, "Normal", v1alpha1.ReasonRestarted)
			rolled[workload] = workload.GetResourceVersion()
		}

		By("a controller that starts anew, and a Connection that fails")
		again, err := cp.StartController(ctx, "sallyport-controller-again", log)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { Expect(again.Stop()).To(Succeed()) })
		update(c, func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].SecretPath = namespace + "/nothing" })
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
		Consistently(func(g Gomega) {
			for _, workload := range asking {
				restartedFor(g, workload)
				g.Expect(workload.GetResourceVersion()).To(Equal(rolled[workload]))
			}
			template, seen := restartedFor(g, silent)
			g.Expect([]string{template, seen}).To(HaveEach(""))
		}, "3s").Should(Succeed())

		By("an edit of the Connection")
		update(c, func(c *v1alpha1.Connection) {
			c.Spec.VaultSecrets[0].SecretPath = namespace + "/oracle"
			c.Spec.Value = builder.JSON(map[string]any{"password": "vault.secret(password)", "host": "new"})
		})
		for _, workload := range asking {
			before := workload.GetAnnotations()[v1alpha1.AnnotationSeen]
			Eventually(func(g Gomega) {
				template, _ := restartedFor(g, workload)
				g.Expect(template).NotTo(Equal(before))
			}).Should(Succeed())
		}
	})

	It("is not rolled by what changes nothing in the files: another interval, or the same manifest with a null", func() {
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"password": canary()})
		manifest := func() *unstructured.Unstructured {
			return &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": v1alpha1.GroupVersion.String(), "kind": "Connection",
				"metadata": map[string]any{"namespace": namespace, "name": "oracle"},
				"spec": map[string]any{
					"type": "SQLORACLE", "refreshInterval": "5s",
					"value": map[string]any{"password": "vault.secret(password)", "proxy": nil, "deep": map[string]any{"er": nil}},
					"vaultSecrets": []any{map[string]any{
						"vaultConfigRef": map[string]any{"name": "main"}, "enginePath": "secret", "secretPath": namespace + "/oracle",
					}},
				},
			}}
		}
		apply := func(object *unstructured.Unstructured) *unstructured.Unstructured {
			GinkgoHelper()
			err := cp.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("gitops"), client.ForceOwnership)
			Expect(err).NotTo(HaveOccurred())
			return object
		}
		generation := apply(manifest()).GetGeneration()
		c := &v1alpha1.Connection{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "oracle"}}
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(c.Spec.Value).To(HaveKey("proxy"), "the API server keeps it")
		all := workloads(namespace, "oracle")
		create(all[0])
		Eventually(func(g Gomega) {
			_, seen := restartedFor(g, all[0])
			g.Expect(seen).NotTo(BeEmpty())
		}).Should(Succeed())

		for range 3 {
			Expect(apply(manifest()).GetGeneration()).To(Equal(generation))
		}
		update(c, func(c *v1alpha1.Connection) {
			c.Spec.RefreshInterval.Duration = time.Hour
			c.Spec.AllowedServiceAccounts = []string{"app"}
		})
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(c), c)).To(Succeed())
			g.Expect(c.Status.ObservedGeneration).To(Equal(c.Generation))
		}).Should(Succeed())
		Consistently(func(g Gomega) {
			template, _ := restartedFor(g, all[0])
			g.Expect(template).To(BeEmpty())
		}, "2s").Should(Succeed())
		response, err := mountEventually(newCaller(replica), newPod(namespace, map[string]string{"connection": "oracle"}, func(p *corev1.Pod) {
			p.Spec.ServiceAccountName = "app"
		}))
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(HaveKeyWithValue("proxy", ""))
	})

	It("follows a static role of a database, which is rotated and counts down", func() {
		database, err := env.StartPostgres(ctx, "")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(database.Close)
		engine := "database-" + namespace
		vault.MountDatabase(engine, database, nil)
		DeferCleanup(func() { vault.Unmount(engine) })
		database.AddRole("report", canary())
		vault.AddStaticRole(engine, "report", "report")
		vault.Policy(engine, `path "`+engine+`/static-creds/*" { capabilities = ["read"] }`)
		tokenSecretNamed(namespace, "roles", env.TokenOptions{Policies: []string{engine}})
		config := vault.Config(namespace, "roles")
		config.Spec.Auth.Token.SecretKeyRef.Name = "roles"
		c := builder.Connection(namespace, "oracle", map[string]any{"password": "vault.secret(password)", "ttl": "vault.secret(ttl)"},
			builder.WithSecret("static-creds/report"), builder.WithShortestRefresh, func(c *v1alpha1.Connection) {
				c.Spec.VaultSecrets[0].EnginePath, c.Spec.VaultSecrets[0].VaultConfigRef.Name = engine, "roles"
			})
		create(config, c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(c.Status.Secrets[0].CreatedTime).NotTo(BeNil())
		workload := workloads(namespace, "oracle")[0]
		create(workload)
		var first string
		Eventually(func(g Gomega) {
			_, first = restartedFor(g, workload)
			g.Expect(first).NotTo(BeEmpty())
		}).Should(Succeed())
		Consistently(func(g Gomega) {
			template, seen := restartedFor(g, workload)
			g.Expect([]string{template, seen}).To(Equal([]string{"", first}), "a ttl that counts down rolls nothing")
		}, "12s").Should(Succeed())

		vault.Write(engine+"/rotate-role/report", nil)
		Eventually(func(g Gomega) {
			template, seen := restartedFor(g, workload)
			g.Expect(template).To(And(Equal(seen), Not(BeEmpty()), Not(Equal(first))))
		}).Should(Succeed())
	})

	It("is rolled once for a burst of changes, when its interval is over, whoever leads then", func() {
		const interval = 15 * time.Second
		path := "secret/data/" + namespace + "/oracle"
		vault.PutKV(path, map[string]any{"password": canary()})
		c := builder.Connection(namespace, "oracle", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"), builder.WithShortestRefresh)
		create(c)
		workload := workloads(namespace, "oracle")[0]
		annotate(workload, v1alpha1.AnnotationRestartMinInterval, interval.String())
		create(workload)
		var first, rolled string
		Eventually(func(g Gomega) {
			_, first = restartedFor(g, workload)
			g.Expect(first).NotTo(BeEmpty())
		}).Should(Succeed())
		edit := func(host string) {
			GinkgoHelper()
			update(c, func(c *v1alpha1.Connection) {
				c.Spec.Value = builder.JSON(map[string]any{"password": "vault.secret(password)", "host": host})
			})
		}
		edit("first")
		Eventually(func(g Gomega) {
			rolled, _ = restartedFor(g, workload)
			g.Expect(rolled).NotTo(Or(BeEmpty(), Equal(first)))
		}).Should(Succeed(), "nothing to wait for yet")
		generation := workload.GetGeneration()
		at, err := time.Parse(time.RFC3339, workload.GetAnnotations()[v1alpha1.AnnotationRestartedAt])
		Expect(err).NotTo(HaveOccurred())

		vault.PutKV(path, map[string]any{"password": canary()})
		edit("second")
		expectEvent(workload, "Normal", v1alpha1.ReasonRestartPending)
		again, err := cp.StartController(ctx, "sallyport-controller-again", log)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { Expect(again.Stop()).To(Succeed()) })
		edit("third")
		Eventually(func(g Gomega) {
			template, seen := restartedFor(g, workload)
			g.Expect(template).NotTo(Equal(rolled))
			g.Expect(seen).To(Equal(template))
		}).Should(Succeed())
		Expect(time.Now()).To(BeTemporally(">=", at.Add(interval)))
		rolled, _ = restartedFor(Default, workload)
		Consistently(func(g Gomega) {
			template, _ := restartedFor(g, workload)
			g.Expect(template).To(Equal(rolled))
		}, "5s").Should(Succeed(), "everything that changed meanwhile was part of it")
		Expect(workload.GetGeneration()).To(BeNumerically("<=", generation+2), "one write that rolls, one at most that notes")
	})

	It("is one of a namespace that says so for all, unless it says otherwise itself", func() {
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"password": canary()})
		create(builder.Connection(namespace, "oracle", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"), builder.WithShortestRefresh))
		all := workloads(namespace, "oracle")
		for _, workload := range all[:3] {
			workload.SetAnnotations(nil)
		}
		create(all...)
		noted := func(g Gomega) (count int) {
			for _, workload := range all {
				if _, seen := restartedFor(g, workload); seen != "" {
					count++
				}
			}
			return count
		}
		Consistently(noted, "2s").Should(BeZero())

		label := func(namespace, value string) {
			GinkgoHelper()
			body := `{"metadata":{"labels":{"sallyport.dev/restart-on-change":` + value + `}}}`
			Expect(cp.Client.Patch(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
				client.RawPatch(types.MergePatchType, []byte(body)))).To(Succeed())
		}
		label(namespace, `"true"`)
		Eventually(noted).Should(Equal(3))
		_, seen := restartedFor(Default, all[3])
		Expect(seen).To(BeEmpty(), "it says false")
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"password": canary()})
		for _, workload := range all[:3] {
			Eventually(func(g Gomega) {
				template, _ := restartedFor(g, workload)
				g.Expect(template).NotTo(BeEmpty())
			}).Should(Succeed())
		}

		By("no label any more")
		label(namespace, "null")
		// Nothing tells that the label's end was seen, but that of another namespace was which came later.
		later := newNamespace()
		readyConfig(later)
		vault.PutKV("secret/data/"+later+"/oracle", map[string]any{"password": canary()})
		witness := workloads(later, "oracle")[0]
		witness.SetAnnotations(nil)
		create(builder.Connection(later, "oracle", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(later+"/oracle")), witness)
		label(later, `"true"`)
		Eventually(func(g Gomega) string { _, seen := restartedFor(g, witness); return seen }).ShouldNot(BeEmpty())
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"password": canary()})
		versions := map[client.Object]string{}
		for _, workload := range all {
			versions[workload] = workload.GetResourceVersion()
		}
		Consistently(func(g Gomega) {
			for _, workload := range all {
				restartedFor(g, workload)
				g.Expect(workload.GetResourceVersion()).To(Equal(versions[workload]))
			}
		}, "8s").Should(Succeed())
	})

	It("waits for the others of a namespace that has one rolled at a time", func() {
		path := "secret/data/" + namespace + "/oracle"
		vault.PutKV(path, map[string]any{"password": canary()})
		create(builder.Connection(namespace, "oracle", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"), builder.WithShortestRefresh))
		body := `{"metadata":{"labels":{"sallyport.dev/restart-max-unavailable":"1"}}}`
		Expect(cp.Client.Patch(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
			client.RawPatch(types.MergePatchType, []byte(body)))).To(Succeed())
		asking := workloads(namespace, "oracle")[:3]
		create(asking...)
		for _, workload := range asking {
			Eventually(func(g Gomega) {
				_, seen := restartedFor(g, workload)
				g.Expect(seen).NotTo(BeEmpty())
			}).Should(Succeed())
		}
		rolled := func(g Gomega) (rolled []client.Object) {
			for _, workload := range asking {
				if template, _ := restartedFor(g, workload); template != "" {
					rolled = append(rolled, workload)
				}
			}
			return rolled
		}
		vault.PutKV(path, map[string]any{"password": canary()})
		complete := map[client.Object]bool{}
		for i := range asking {
			Eventually(rolled).Should(HaveLen(i + 1))
			Consistently(rolled, "7s").Should(HaveLen(i+1), "the last one is not complete")
			for _, workload := range rolled(Default) {
				if !complete[workload] {
					complete[workload] = true
					finish(workload)
				}
			}
		}
		pending := 0
		for _, workload := range asking {
			if slices.Contains(eventsOf(workload), "Normal "+v1alpha1.ReasonRestartPending) {
				pending++
			}
		}
		Expect(pending).To(Equal(2))
	})

	It("lets the controller change nothing else in it", func() {
		all := workloads(namespace, "oracle")
		create(all...)
		controller := as("system:serviceaccount:"+env.Namespace+":sallyport-controller", replica.PodName)
		patch := func(workload client.Object, body string) error {
			return controller.Patch(ctx, workload, client.RawPatch(types.MergePatchType, []byte(body)))
		}
		const roll = `{"spec":{"template":{"metadata":{"annotations":{"sallyport.dev/restarted-for":"oracle=x"}}}}}`
		for _, workload := range all[:3] {
			Expect(patch(workload, `{"spec":{"template":{"spec":{"hostPID":true}}}}`)).To(MatchError(ContainSubstring("may change nothing in a pod template but")))
			Expect(patch(workload, `{"spec":{"template":{"metadata":{"annotations":{"other":"x"}}}}}`)).To(MatchError(ContainSubstring("may change nothing in a pod template but")))
			Expect(patch(workload, roll)).To(Succeed())
		}
		Expect(patch(all[3], roll)).To(MatchError(ContainSubstring("may roll only workloads with the annotation sallyport.dev/restart-on-change")))
	})

	It("is told that a secret has no versions", func() {
		vault.PutKV("kv/"+namespace+"/legacy", map[string]any{"password": canary()})
		create(builder.Connection(namespace, "legacy", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/legacy"),
			func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].EnginePath = "kv" }))
		workload := workloads(namespace, "legacy")[0]
		create(workload)
		expectEvent(workload, "Warning", v1alpha1.ReasonNoVersions)
		Eventually(func(g Gomega) {
			_, seen := restartedFor(g, workload)
			g.Expect(strings.HasPrefix(seen, "legacy=")).To(BeTrue())
		}).Should(Succeed())
	})
})
