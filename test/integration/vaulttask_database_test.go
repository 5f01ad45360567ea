package integration

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A VaultTask on Vault's database engine", Ordered, func() {
	var (
		namespace, engine string
		database          *env.Postgres
		proxy             *env.Proxy
		// Vault's own user in the database, and one that Vault keeps the password of.
		root, password, static string
	)

	BeforeAll(func() {
		var err error
		database, err = env.StartPostgres(ctx, "")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(database.Close)
		proxy, err = env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		namespace = newNamespace()
		engine = "database-" + namespace
		root, password = vault.MountDatabase(engine, database, map[string]env.DatabaseRole{"reader": {DefaultTTL: time.Hour, MaxTTL: 2 * time.Hour}})
		DeferCleanup(func() { vault.Unmount(engine) }) // before the database ends: Vault drops the users that it made
		static = "report"
		database.AddRole(static, rand.Text())
		vault.AddStaticRole(engine, "report", static)
		remember(password)
		taskConfig(namespace, builder.WithURL(proxy.URL()))
	})

	staticPassword := func() string { return vault.Get(engine + "/static-creds/report")["password"] }
	// issue has Vault make a user, which takes its own login to the database.
	issue := func() (username, password string) {
		credentials := vault.Get(engine + "/creds/reader")
		remember(credentials["password"])
		return credentials["username"], credentials["password"]
	}
	// finished waits for the end of a task, however that is.
	finished := func(t *v1alpha1.VaultTask) {
		GinkgoHelper()
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(t), t)).To(Succeed())
			g.Expect(t.Status.CompletionTime).NotTo(BeNil())
		}).Should(Succeed())
	}
	// withoutValues holds a task's status to that.
	withoutValues := func(t *v1alpha1.VaultTask, values ...string) {
		GinkgoHelper()
		encoded, err := json.Marshal(t)
		Expect(err).NotTo(HaveOccurred())
		for _, value := range values {
			Expect(string(encoded)).NotTo(ContainSubstring(value))
		}
	}

	It("rotates the password with which Vault itself logs in, so that nobody else knows it", func() {
		Expect(database.Login(root, password)).To(Succeed())
		t := builder.VaultTask(namespace, "rotate-root", v1alpha1.OperationGenericWrite, engine+"/rotate-root/"+env.DatabaseConnection)
		create(t)
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(t.Status.Result.Path).To(Equal(engine + "/rotate-root/" + env.DatabaseConnection))
		Expect(database.Login(root, password)).To(MatchError(env.ErrPostgresLogin))
		username, issued := issue()
		Expect(database.Login(username, issued)).To(Succeed())
		withoutValues(t, password)
	})

	It("rotates the password of a static role", func() {
		before := staticPassword()
		remember(before)
		Expect(database.Login(static, before)).To(Succeed())
		t := builder.VaultTask(namespace, "rotate-role", v1alpha1.OperationGenericWrite, engine+"/rotate-role/report")
		create(t)
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		after := staticPassword()
		remember(after)
		Expect(database.Login(static, before)).To(MatchError(env.ErrPostgresLogin))
		Expect(database.Login(static, after)).To(Succeed())
		withoutValues(t, before, after)
	})

	It("reports the names of what it reads, and seals what it issues", func() {
		t := builder.VaultTask(namespace, "creds", v1alpha1.OperationGenericRead, engine+"/creds/reader")
		before := database.Roles()
		create(t)
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(t.Status.Result.Keys).To(Equal([]string{"password", "username"}))
		made := slices.DeleteFunc(database.Roles(), func(name string) bool { return slices.Contains(before, name) })
		Expect(made).To(HaveLen(1))
		withoutValues(t, made[0])
	})

	It("leaves the login alive with which a task of its own issued what it hands out", func() {
		mount, loginPassword := "userpass-"+namespace, canary()
		vault.EnableAuth(mount, "userpass")
		DeferCleanup(func() { vault.DisableAuth(mount) })
		vault.Write("auth/"+mount+"/users/bob", map[string]any{"password": loginPassword, "token_policies": "everything", "token_ttl": "1h"})
		create(builder.Secret(namespace, "bob", map[string]string{"password": loginPassword}))
		logins := func() int { return vault.TokensFrom("auth/" + mount + "/login/bob") }
		key, err := age.GenerateX25519Identity()
		Expect(err).NotTo(HaveOccurred())
		inline := func(t *v1alpha1.VaultTask) {
			t.Spec.TaskTarget = v1alpha1.TaskTarget{Vault: &v1alpha1.InlineVault{
				URL: vault.URL(), CACertificate: vault.CACertificate(), Auth: v1alpha1.VaultAuth{UserPass: &v1alpha1.PasswordAuth{
					Mount: v1alpha1.MountPath(mount), Username: "bob", PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: "bob", Key: "password"},
				}},
			}}
		}
		handsOut := builder.VaultTask(namespace, "hands-out", v1alpha1.OperationGenericRead, engine+"/creds/reader", inline,
			func(t *v1alpha1.VaultTask) {
				t.Spec.Result = &v1alpha1.TaskResultRequest{SealTo: key.Recipient().String()}
			})
		create(handsOut)
		expectCondition(handsOut, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		By("while that of one which keeps nothing is revoked, with what it issued")
		keepsNothing := builder.VaultTask(namespace, "keeps-nothing", v1alpha1.OperationGenericRead, engine+"/creds/reader", inline)
		create(keepsNothing)
		expectCondition(keepsNothing, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Eventually(logins).Should(Equal(1))
		plain, err := age.Decrypt(armor.NewReader(strings.NewReader(handsOut.Status.Result.Sealed)), key)
		Expect(err).NotTo(HaveOccurred())
		issued := map[string]string{}
		Expect(json.NewDecoder(plain).Decode(&issued)).To(Succeed())
		remember(issued["password"])
		Expect(database.Login(issued["username"], issued["password"])).To(Succeed())
	})

	DescribeTable("rotates at most once when the answer is lost, and says that it does not know",
		func(name string, fault env.Fault, rotated bool) {
			before := staticPassword()
			remember(before)
			hash := func() string {
				return strings.Join(database.Run("SELECT rolpassword FROM pg_authid WHERE rolname = '"+static+"'"), "")
			}
			first := hash()
			for _, method := range []string{"PUT", "POST"} {
				fault.Method, fault.Path = method, engine+"/rotate-role/report"
				proxy.Inject(fault)
			}
			DeferCleanup(proxy.Heal)
			proxy.Reset()
			t := builder.VaultTask(namespace, name, v1alpha1.OperationGenericWrite, engine+"/rotate-role/report")
			create(t)
			finished(t)
			Expect(t.Status.Conditions).To(ContainElement(And(HaveField("Type", v1alpha1.ConditionFailed), HaveField("Reason", v1alpha1.ReasonOutcomeUnknown))))
			second := hash()
			if rotated {
				Expect(second).NotTo(Equal(first))
			} else {
				Expect(second).To(Equal(first))
			}
			proxy.Heal()
			Consistently(hash, "2s").Should(Equal(second), "another rotation")
			counts := proxy.Counts()
			Expect(counts["PUT "+engine+"/rotate-role/report"]+counts["POST "+engine+"/rotate-role/report"]).To(Equal(1), "how often it was sent")
			after := staticPassword()
			remember(after)
			Expect(database.Login(static, after)).To(Succeed())
			withoutValues(t, before, after)
		},
		Entry("after it was done", "lost-after", env.Fault{CloseAfter: true}, true),
		Entry("before it was done", "lost-before", env.Fault{CloseBefore: true}, false),
	)

	It("fails with Vault's refusal where there is nothing to rotate", func() {
		t := builder.VaultTask(namespace, "none", v1alpha1.OperationGenericWrite, engine+"/rotate-role/nobody")
		create(t)
		finished(t)
		expectCondition(t, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonInvalidRequest, ContainSubstring(engine+"/rotate-role/nobody → 400"))
	})
})
