package integration

import (
	"fmt"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("The life of a VaultTask", func() {
	var namespace string
	something := builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"})

	BeforeEach(func() {
		namespace = newNamespace()
		taskConfig(namespace)
	})

	It("waits while it is suspended", func() {
		t := builder.VaultTask(namespace, "later", v1alpha1.OperationWrite, namespace+"/later", something, func(t *v1alpha1.VaultTask) { t.Spec.Suspend = new(true) })
		create(t)
		expectCondition(t, v1alpha1.ConditionSuspended, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
		Expect(meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionReconciling)).To(BeNil())
		update(t, func(t *v1alpha1.VaultTask) { t.Spec.Suspend = nil })
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("ends by itself after its time, and not without one", func() {
		gone := builder.VaultTask(namespace, "gone", v1alpha1.OperationWrite, namespace+"/gone", something,
			func(t *v1alpha1.VaultTask) { t.Spec.TTLSecondsAfterFinished = new(int32(0)) })
		create(gone)
		Eventually(func() error { return cp.Client.Get(ctx, client.ObjectKeyFromObject(gone), gone) }).Should(Satisfy(apierrors.IsNotFound))
		_, err := vault.Client().KVv2("secret").Get(ctx, namespace+"/gone")
		Expect(err).NotTo(HaveOccurred(), "it had run")
		expectEvent(gone, "Normal", v1alpha1.ReasonSucceeded)
	})

	It("is given up after as many attempts as it may take", func() {
		down := vault.Config(namespace, "down", builder.WithURL("https://127.0.0.1:1"))
		create(down)
		expectCondition(down, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonVaultUnreachable)
		tired := builder.VaultTask(namespace, "tired", v1alpha1.OperationWrite, "x", something, builder.WithConfig("down"),
			func(t *v1alpha1.VaultTask) { t.Spec.BackoffLimit = new(int32(1)) })
		create(tired)
		expectCondition(tired, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonBackoffLimitExceeded)
		Expect(tired.Status.Failures).To(BeEquivalentTo(2))
	})

	// through has the task use a VaultConfig of its own.
	through := func(change ...func(*v1alpha1.VaultConfig)) func(*v1alpha1.VaultTask) {
		return func(t *v1alpha1.VaultTask) {
			own := vault.Config(namespace, "own", change...)
			create(own)
			Eventually(func(g Gomega) { // until the controllers know it
				g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(own), own)).To(Succeed())
				g.Expect(own.Status.ObservedGeneration).To(Equal(own.Generation))
			}).Should(Succeed())
			builder.WithConfig("own")(t)
		}
	}
	copying := func(reference string) func(*v1alpha1.VaultTask) {
		return builder.WithData(map[string]v1alpha1.TaskValue{"a": v1alpha1.TaskValue(reference)})
	}
	sealed := func(t *v1alpha1.VaultTask) {
		proxy, err := env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		const kind = "application/json"
		proxy.Inject(env.Fault{Path: "sys/health", Status: 503, ContentType: kind, Body: `{"initialized":true,"sealed":true,"standby":true}`})
		proxy.Inject(env.Fault{Status: 503, ContentType: kind, Body: `{"errors":["Vault is sealed"]}`})
		through(builder.WithURL(proxy.URL()))(t)
	}

	DescribeTable("is given up at its deadline, whatever it waits for",
		func(reason string, wait func(*v1alpha1.VaultTask)) {
			late := builder.VaultTask(namespace, "late", v1alpha1.OperationWrite, namespace+"/late", something)
			wait(late)
			late.Spec.ActiveDeadlineSeconds = new(int64(5)) // caches follow meanwhile
			create(late)
			expectCondition(late, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonDeadlineExceeded,
				And(HavePrefix("it was not done within the 5 seconds of activeDeadlineSeconds"), ContainSubstring("; last: "+reason+", ")))
			expectCondition(late, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDeadlineExceeded)
			Expect(late.Status.Claim).To(BeNil())
			_, err := vault.Client().KVv2("secret").Get(ctx, namespace+"/late")
			Expect(err).To(MatchError(vaultapi.ErrSecretNotFound), "nothing was written")
		},
		Entry("a VaultConfig that is not there", v1alpha1.ReasonConfigNotFound, builder.WithConfig("none")),
		Entry("a VaultConfig that is disabled", v1alpha1.ReasonConfigDisabled,
			through(func(c *v1alpha1.VaultConfig) { c.Spec.Enabled = new(false) })),
		Entry("a VaultConfig that is wrong", v1alpha1.ReasonInvalidSpec,
			through(func(c *v1alpha1.VaultConfig) { c.Spec.CACertificate = "garbage" })),
		Entry("a VaultConfig of another namespace that does not let it", v1alpha1.ReasonNamespaceNotAllowed, func(t *v1alpha1.VaultTask) {
			t.Spec.VaultConfigRef.Namespace = newNamespace()
			taskConfig(t.Spec.VaultConfigRef.Namespace)
		}),
		Entry("a Vault that does not answer", v1alpha1.ReasonVaultUnreachable, through(builder.WithURL("https://127.0.0.1:1"))),
		Entry("a Vault that is sealed", v1alpha1.ReasonVaultSealed, sealed),
		Entry("a Secret with its credential", v1alpha1.ReasonCredentialMissing, through(builder.WithTokenSecret("none"))),
		Entry("a credential that Vault accepts", v1alpha1.ReasonAuthFailed, func(t *v1alpha1.VaultTask) {
			create(builder.TokenSecret(namespace, "wrong", canary()))
			through(builder.WithTokenSecret("wrong"))(t)
		}),
		Entry("the right to read what it copies", v1alpha1.ReasonPermissionDenied, func(t *v1alpha1.VaultTask) {
			tokenSecretNamed(namespace, "narrow", env.TokenOptions{Policies: []string{"default"}})
			narrow := vault.Config(namespace, "narrow", builder.WithTokenSecret("narrow"))
			create(narrow)
			expectCondition(narrow, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
			copying("vault.secret(narrow:" + namespace + "/source.a)")(t)
		}),
		Entry("a secret that it copies", v1alpha1.ReasonSecretNotFound, func(t *v1alpha1.VaultTask) {
			copying("vault.secret(main:" + namespace + "/source.a)")(t)
		}),
		Entry("a Secret with its data", v1alpha1.ReasonCredentialMissing, func(t *v1alpha1.VaultTask) {
			t.Spec.Data, t.Spec.DataFrom = nil, []v1alpha1.TaskDataSource{{SecretRef: &v1alpha1.LocalReference{Name: "none"}}}
		}),
		Entry("a Connection that is not there", v1alpha1.ReasonConnectionNotFound, func(t *v1alpha1.VaultTask) {
			t.Spec.TaskTarget = v1alpha1.TaskTarget{ConnectionRef: &v1alpha1.ConnectionReference{Name: "none"}}
		}),
	)

	It("returns at every time of its schedule", func() {
		t := builder.VaultTask(namespace, "rotate", v1alpha1.OperationWrite, namespace+"/rotated", func(t *v1alpha1.VaultTask) {
			t.Spec.Generate = []v1alpha1.GeneratedValue{{Key: "password"}}
			t.Spec.Overwrite = new(true)
			t.Spec.Schedule = &v1alpha1.TaskSchedule{Cron: "@every 1m", SuccessfulHistoryLimit: new(int32(2))}
		})
		create(t)
		for run := range int32(3) {
			// A schedule runs once a minute at most, so the clock is set back: the last time is made older, and an edit
			// has the task looked at.
			older := fmt.Appendf(nil, `{"status":{"lastScheduleTime":%q}}`, time.Now().Add(-61*time.Second).UTC().Format(time.RFC3339))
			Expect(cp.Client.Status().Patch(ctx, t.DeepCopy(), client.RawPatch(types.MergePatchType, older))).To(Succeed())
			update(t, func(t *v1alpha1.VaultTask) { t.Spec.BackoffLimit = new(run) })
			Eventually(func(g Gomega) {
				g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(t), t)).To(Succeed())
				g.Expect(t.Status.Result).NotTo(BeNil())
				g.Expect(t.Status.Result.Version).To(BeNumerically(">=", run+1))
				g.Expect(t.Status.CompletionTime).NotTo(BeNil())
			}).Should(Succeed())
		}
		Expect(t.Status.History).To(HaveLen(2))
		Expect(t.Status.LastScheduleTime).NotTo(BeNil())
		expectEvent(t, "Normal", v1alpha1.ReasonSucceeded)

		By("but not while it is suspended")
		update(t, func(t *v1alpha1.VaultTask) { t.Spec.Suspend = new(true) })
		expectCondition(t, v1alpha1.ConditionSuspended, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
		metadata, err := vault.Client().KVv2("secret").GetMetadata(ctx, namespace+"/rotated")
		Expect(err).NotTo(HaveOccurred())
		Expect(metadata.CurrentVersion).To(BeEquivalentTo(t.Status.Result.Version))
		Consistently(func() (int, error) {
			m, err := vault.Client().KVv2("secret").GetMetadata(ctx, namespace+"/rotated")
			return m.CurrentVersion, err
		}, "3s").Should(Equal(metadata.CurrentVersion))
	})

	It("waits for the first time of a schedule, and tells of one that never comes", func() {
		with := func(name, cron, zone string) *v1alpha1.VaultTask {
			return builder.VaultTask(namespace, name, v1alpha1.OperationRead, "x", func(t *v1alpha1.VaultTask) {
				t.Spec.Schedule = &v1alpha1.TaskSchedule{Cron: cron, TimeZone: zone}
			})
		}
		yearly, never, nowhere := with("yearly", "0 3 1 1 *", "Europe/Berlin"), with("never", "0 0 30 2 *", ""), with("nowhere", "@daily", "Europe/Sallyport")
		create(yearly, never, nowhere)
		expectCondition(yearly, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonScheduled)
		Expect(yearly.Status.NextScheduleTime.UTC().Format("01-02T15:04")).To(Equal("01-01T02:00"))
		Expect(yearly.Status.StartTime).To(BeNil())
		expectCondition(never, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalidSpec, ContainSubstring("never comes"))
		expectCondition(nowhere, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalidSpec, ContainSubstring("there is no time zone"))

		By("until the schedule is corrected")
		update(never, func(t *v1alpha1.VaultTask) { t.Spec.Schedule.Cron = "0 0 28 2 *" })
		expectCondition(never, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonScheduled)
	})

	It("costs nothing once it is over", func() {
		proxy, err := env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		config := vault.Config(namespace, "counted", builder.WithURL(proxy.URL()))
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		t := builder.VaultTask(namespace, "over", v1alpha1.OperationWrite, namespace+"/over", something, builder.WithConfig("counted"))
		create(t)
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		before := t.ResourceVersion
		update(t, func(t *v1alpha1.VaultTask) { t.Labels = map[string]string{"a": "b"} })
		count := func() int { return proxy.Counts()["POST secret/data/"+namespace+"/over"] }
		Consistently(count, "2s").Should(Equal(1))
		Expect(t.ResourceVersion).NotTo(Equal(before), "only the label was written")
	})

	It("may be cut short at any time", func() {
		proxy, err := env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		config := vault.Config(namespace, "slow", builder.WithURL(proxy.URL()))
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		proxy.Inject(env.Fault{Method: "POST", Path: "secret/data/" + namespace, Delay: 2 * time.Second})
		t := builder.VaultTask(namespace, "cut", v1alpha1.OperationWrite, namespace+"/cut", something, builder.WithConfig("slow"))
		create(t)
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(t), t)).To(Succeed())
			g.Expect(t.Status.Claim).NotTo(BeNil())
		}).Should(Succeed())
		Expect(cp.Client.Delete(ctx, t)).To(Succeed())
		Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(t), t)).To(Satisfy(apierrors.IsNotFound), "no finalizer holds it")
		Eventually(func() error { _, err := vault.Client().KVv2("secret").Get(ctx, namespace+"/cut"); return err }).Should(Succeed())
		Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(t), t)).To(Satisfy(apierrors.IsNotFound))
	})
})
