package vault_test

import (
	"context"
	"encoding/json"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("Writing", func() {
	var (
		f *fixture
		s *session.Session
	)
	data := map[string]any{"password": canary + "written", "port": json.Number("1521")}

	BeforeEach(func(ctx context.Context) {
		f = newFixture()
		f.setToken(f.token(env.TokenOptions{Policies: []string{"writer"}}))
		s = f.session(ctx)
		DeferCleanup(func() { remove("secret/metadata/new") })
	})

	It("creates and updates with the version it expects", func(ctx context.Context) {
		Expect(secrets.CurrentVersion(ctx, s, at("new"))).To(Equal(int64(0)))
		written, err := secrets.Write(ctx, s, at("data/new"), data, 0)
		Expect(err).NotTo(HaveOccurred())
		Expect(written.Version).To(Equal(int64(1)))
		Expect(written.Path).To(Equal("secret/data/new"))
		Expect(written.RequestID).NotTo(BeEmpty())
		Expect(written.CreatedTime).To(BeTemporally("~", time.Now(), time.Minute))
		f.mute(written)

		secret, err := secrets.Read(ctx, s, at("new"))
		Expect(err).NotTo(HaveOccurred())
		Expect(secret.Data).To(Equal(data))
		Expect(secret.CreatedTime).To(BeTemporally("==", written.CreatedTime))

		Expect(secrets.CurrentVersion(ctx, s, at("new"))).To(Equal(int64(1)))
		written, err = secrets.Write(ctx, s, at("new"), data, 1)
		Expect(err).NotTo(HaveOccurred())
		Expect(written.Version).To(Equal(int64(2)))
	})

	It("refuses when somebody else was faster", func(ctx context.Context) {
		_, err := secrets.Write(ctx, s, at("new"), data, 0)
		Expect(err).NotTo(HaveOccurred())
		_, err = secrets.Write(ctx, s, at("new"), data, 0)
		Expect(f.said(err, v1alpha1.ReasonCASMismatch)).To(Equal(
			"POST secret/data/new → 400 the secret's current version is another than the one expected " + as + "; somebody else wrote it; look at the secret, then write with its version as cas"))
		Expect(fault.OutcomeUnknown(err)).To(BeFalse())
		Expect(secrets.CurrentVersion(ctx, s, at("new"))).To(Equal(int64(1)))
	})

	DescribeTable("counts deleted and destroyed versions, with and without a right to the metadata",
		func(ctx context.Context, policy string) {
			f.setToken(f.token(env.TokenOptions{Policies: []string{policy}}))
			f.later(2 * time.Minute)
			Expect(secrets.CurrentVersion(ctx, s, at("new"))).To(Equal(int64(0)))
			for cas := range int64(3) {
				_, err := secrets.Write(ctx, s, at("new"), data, cas)
				Expect(err).NotTo(HaveOccurred())
			}
			Expect(secrets.CurrentVersion(ctx, s, at("new"))).To(Equal(int64(3)))
			write("secret/delete/new", map[string]any{"versions": []int{3}})
			Expect(secrets.CurrentVersion(ctx, s, at("new"))).To(Equal(int64(3)))
			write("secret/destroy/new", map[string]any{"versions": []int{1, 2, 3}})
			Expect(secrets.CurrentVersion(ctx, s, at("new"))).To(Equal(int64(3)))
			_, err := secrets.Write(ctx, s, at("new"), data, 3)
			Expect(err).NotTo(HaveOccurred())
		},
		Entry("with", "writer"),
		Entry("without", "data-only"),
	)

	It("says which policy rule is missing", func(ctx context.Context) {
		f.setToken(f.token(env.TokenOptions{Policies: []string{"reader"}}))
		f.later(2 * time.Minute)
		_, err := secrets.Write(ctx, s, at("new"), data, 0)
		Expect(f.said(err, v1alpha1.ReasonPermissionDenied)).To(Equal(
			"POST secret/data/new → 403 permission denied " + as + `; its policy needs "create" and "update" on secret/data/new`))
		Expect(fault.OutcomeUnknown(err)).To(BeFalse())
	})

	It("uses at once the token that replaced a revoked one", func(ctx context.Context) {
		server.Revoke(f.tokens[len(f.tokens)-1])
		f.setToken(f.token(env.TokenOptions{Policies: []string{"writer"}}))
		written, err := secrets.Write(ctx, s, at("new"), data, 0)
		Expect(err).NotTo(HaveOccurred())
		Expect(written.Version).To(Equal(int64(1)))
	})

	DescribeTable("never writes into a version 1 engine, whatever is said of it",
		func(ctx context.Context, version v1alpha1.KVVersion) {
			f.setToken(f.token(env.TokenOptions{Policies: []string{"root"}}))
			f.later(2 * time.Minute)
			_, err := secrets.Write(ctx, s, secrets.Location{EnginePath: "kv", SecretPath: "new", KVVersion: version}, data, 0)
			Expect(f.said(err, v1alpha1.ReasonInvalidRequest)).To(Equal(
				"the engine at kv is KV version 1, and this needs version 2 " + as + "; upgrade it, or use another engine"))
			Expect(fault.OutcomeUnknown(err)).To(BeFalse())
			Expect(proxy.Counts()).NotTo(HaveKey("POST kv/data/new"))
		},
		Entry("nothing", v1alpha1.KVVersion("")),
		Entry("V1", v1alpha1.KVVersion1),
		Entry("V2", v1alpha1.KVVersion2),
	)

	Describe("when the answer is lost", func() {
		attempt := func(ctx context.Context, lost env.Fault) error {
			lost.Method, lost.Path = "POST", "secret/data/new"
			proxy.Inject(lost)
			_, err := secrets.Write(ctx, s, at("new"), data, 0)
			Expect(err).To(HaveOccurred())
			Expect(proxy.Counts()).To(HaveKeyWithValue("POST secret/data/new", 1), "sent once")
			return err
		}

		DescribeTable("says that the outcome is unknown",
			func(ctx context.Context, lost env.Fault, reason, sentence string, happened int64) {
				if lost.Hang {
					f.newSessions(session.Options{Timeout: 3 * time.Second})
				}
				s = f.session(ctx)
				proxy.Reset()
				err := attempt(ctx, lost)
				Expect(f.said(err, reason)).To(HavePrefix("POST secret/data/new → " + sentence))
				Expect(fault.OutcomeUnknown(err)).To(BeTrue())
				Expect(secrets.CurrentVersion(ctx, s, at("new"))).To(Equal(happened))
			},
			Entry(
				"after Vault wrote it", env.Fault{CloseAfter: true}, v1alpha1.ReasonVaultUnreachable, "no answer from ", int64(1),
			),
			Entry(
				"before Vault saw it", env.Fault{CloseBefore: true}, v1alpha1.ReasonVaultUnreachable, "no answer from ", int64(0),
			),
			Entry("in a time-out", env.Fault{Hang: true}, v1alpha1.ReasonVaultUnreachable, "no answer from ", int64(0)),
			Entry(
				"in a gateway", env.Fault{Status: 502, Body: "<html>" + canary + "</html>"}, v1alpha1.ReasonVaultUnreachable,
				"https://", int64(0),
			),
			Entry("in an error of Vault's", env.Fault{
				Status: 500, ContentType: "application/json", Body: `{"errors":["` + canary + `"]}`,
			},
				v1alpha1.ReasonVaultError, "500 an error inside Vault", int64(0)),
			Entry("half-way", env.Fault{Status: 200, ContentType: "application/json", Body: `{"request_id":"x","data":{"ver`},
				v1alpha1.ReasonVaultUnreachable, "https://", int64(0)),
		)

		It("is sure that nothing happened if it was refused", func(ctx context.Context) {
			for _, status := range []int{400, 404, 405, 429} {
				proxy.Reset()
				err := attempt(ctx, env.Fault{Times: 1, Status: status, ContentType: "application/json", Body: `{"errors":["no"]}`})
				Expect(fault.OutcomeUnknown(err)).To(BeFalse(), "%d", status)
			}
		})

		It("is sure that nothing happened if no connection came about", func(ctx context.Context) {
			f.config.Generation, f.config.Spec.URL = 2, server.URL()
			direct := f.session(ctx)
			_, err := secrets.CurrentVersion(ctx, direct, at("new")) // the engine's version is known from here
			Expect(err).NotTo(HaveOccurred())
			server.Stop()
			DeferCleanup(server.Start)
			Eventually(func() string { // until the old connection is known to be dead
				_, dead := secrets.CurrentVersion(ctx, direct, at("new"))
				return dead.Error()
			}).Should(ContainSubstring("connection refused"))
			_, err = secrets.Write(ctx, direct, at("new"), data, 0)
			Expect(f.said(err, v1alpha1.ReasonVaultUnreachable)).To(Equal(
				"POST secret/data/new → no answer from " + server.URL() + ": connection refused " + as + checkPort))
			Expect(fault.OutcomeUnknown(err)).To(BeFalse())
		})
	})
})
