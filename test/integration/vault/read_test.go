package vault_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("Reading", func() {
	var f *fixture

	BeforeEach(func() { f = newFixture() })

	Context("a KV version 2 engine", func() {
		BeforeEach(func() {
			server.PutKV("secret/data/team/oracle", map[string]any{
				"password": canary + "1", "port": json.Number("1521"), "big": json.Number(
					"123456789012345",
				), "nested": map[string]any{"a": []any{true, nil}},
			})
			DeferCleanup(func() { remove("secret/metadata/team/oracle") })
		})

		DescribeTable("takes both spellings of the path",
			func(ctx context.Context, path string, version v1alpha1.KVVersion) {
				at := secrets.Location{EnginePath: "/secret/", SecretPath: path, KVVersion: version}
				secret, err := secrets.Read(ctx, f.session(ctx), at)
				Expect(err).NotTo(HaveOccurred())
				Expect(secret.Data).To(Equal(map[string]any{
					"password": canary + "1", "port": json.Number("1521"), "big": json.Number(
						"123456789012345",
					), "nested": map[string]any{"a": []any{true, nil}},
				}))
				Expect(secret.Path).To(Equal("secret/data/team/oracle"))
				Expect(secret.Version).To(Equal(int64(1)))
				Expect(secret.CreatedTime).To(BeTemporally("~", time.Now(), time.Minute))
				Expect(secret.RequestID).NotTo(BeEmpty())
				Expect(secrets.APIPath(ctx, f.session(ctx), at)).To(Equal("secret/data/team/oracle"))
				f.mute(secret)
				f.mute(*secret)
				f.mute(map[string]any{"in": []any{secret, struct{ S secrets.Secret }{*secret}}})
			},
			Entry("as the command line has it", "team/oracle", v1alpha1.KVVersion("")),
			Entry("as the API has it", "data/team/oracle", v1alpha1.KVVersion("")),
			Entry("with slashes around", "/team/oracle/", v1alpha1.KVVersion("")),
			Entry("with the version given", "team/oracle", v1alpha1.KVVersion2),
			Entry("with the version given, as the API has it", "data/team/oracle", v1alpha1.KVVersion2),
		)

		It("reads the latest version, or the one asked for", func(ctx context.Context) {
			server.PutKV("secret/data/team/oracle", map[string]any{"password": canary + "2"})
			latest, err := secrets.Read(ctx, f.session(ctx), at("team/oracle"))
			Expect(err).NotTo(HaveOccurred())
			Expect(latest.Version).To(Equal(int64(2)))
			first, err := secrets.Read(ctx, f.session(ctx), atVersion("team/oracle", 1))
			Expect(err).NotTo(HaveOccurred())
			Expect(first.Version).To(Equal(int64(1)))
			Expect(first.Data).To(HaveKeyWithValue("password", canary+"1"))
			Expect(first.CreatedTime).To(BeTemporally("<=", latest.CreatedTime))
		})

		It("tells a deleted, a destroyed and a missing version apart from a missing secret", func(ctx context.Context) {
			server.PutKV("secret/data/team/oracle", map[string]any{"password": canary + "2"})
			server.PutKV("secret/data/team/oracle", map[string]any{"password": canary + "3"})
			write("secret/delete/team/oracle", map[string]any{"versions": []int{3}})
			write("secret/destroy/team/oracle", map[string]any{"versions": []int{2}})
			read := func(location secrets.Location) string {
				_, err := secrets.Read(ctx, f.session(ctx), location)
				return f.said(err, v1alpha1.ReasonSecretNotFound)
			}
			Expect(read(at("team/oracle"))).To(MatchRegexp(
				`^GET secret/data/team/oracle → 404 version 3 was deleted at \d{4}-\S+Z \(VaultConfig shop/prod, auth token\); undelete it, or write a new version$`))
			Expect(read(atVersion("team/oracle", 2))).To(Equal(
				"GET secret/data/team/oracle?version=2 → 404 version 2 was destroyed " + as + "; write a new version, or name another one"))
			Expect(read(atVersion("team/oracle", 9))).To(Equal(
				"GET secret/data/team/oracle?version=9 → 404 no such version, or no secret at all at this path " + as +
					"; name a version that exists, or correct secretPath"))
			Expect(read(at("team/nothing"))).To(Equal("GET secret/data/team/nothing → 404 no secret at this path " + as +
				"; write it to Vault, or correct secretPath"))
			Expect(read(at("secret/data/team/oracle"))).To(Equal("GET secret/data/secret/data/team/oracle → 404 no secret at this path " + as +
				"; set secretPath to team/oracle, for enginePath, v1/ and data/ are no part of it; or write the secret to Vault"))
		})

		It("says that paths are written without the API's version", func(ctx context.Context) {
			_, err := secrets.ReadPath(ctx, f.session(ctx), "/v1/secret/data/team/oracle")
			Expect(fault.From(err).Remedy).To(Equal("write path without v1/, which Sallyport puts before every path: secret/data/team/oracle"))
			location := at("team/oracle")
			location.EnginePath = "v1/secret"
			_, err = secrets.Read(ctx, f.session(ctx), location)
			Expect(fault.From(err).Remedy).To(Equal("write enginePath without v1/, which Sallyport puts before every path: secret"))
		})

		It("says what a path of Vault's API lacks that leads into KV version 2", func(ctx context.Context) {
			f.setToken(f.token(env.TokenOptions{Policies: []string{"root"}}))
			_, err := secrets.ReadPath(ctx, f.session(ctx), "secret/team/oracle")
			Expect(f.said(err, v1alpha1.ReasonSecretNotFound)).To(ContainSubstring("an engine of KV version 2 has its secrets below data/"))
		})

		It("escapes what has a meaning in URLs", func(ctx context.Context) {
			for _, name := range []string{"a b", "a%2Fb", "what?x=1", "a#b", "ü", "a+b&c", "semi;colon", "[x]", "per%cent"} {
				server.PutKV("secret/data/odd/"+name, map[string]any{"is": canary + name})
				secret, err := secrets.Read(ctx, f.session(ctx), at("odd/"+name))
				Expect(err).NotTo(HaveOccurred(), name)
				Expect(secret.Data).To(HaveKeyWithValue("is", canary+name))
				Expect(secret.Path).To(Equal("secret/data/odd/" + name))
			}
		})

		It("asks for the engine's version once a minute at most", func(ctx context.Context) {
			for range 3 {
				_, err := secrets.Read(ctx, f.session(ctx), at("team/oracle"))
				Expect(err).NotTo(HaveOccurred())
			}
			Expect(proxy.Counts()).To(Equal(map[string]int{
				"GET auth/token/lookup-self":        1,
				"GET sys/internal/ui/mounts/secret": 1,
				"GET secret/data/team/oracle":       3,
			}))
			f.later(61 * time.Second)
			_, err := secrets.Read(ctx, f.session(ctx), at("team/oracle"))
			Expect(err).NotTo(HaveOccurred())
			Expect(proxy.Counts()).To(HaveKeyWithValue("GET sys/internal/ui/mounts/secret", 2))
		})
	})

	Context("a KV version 1 engine", func() {
		BeforeEach(func() {
			server.PutKV("kv/oracle", map[string]any{"password": canary + "v1"})
			server.PutKV("kv/data/oracle", map[string]any{"password": canary + "below data"})
		})

		DescribeTable("takes the path as it is",
			func(ctx context.Context, path, value string, version v1alpha1.KVVersion) {
				secret, err := secrets.Read(
					ctx, f.session(ctx), secrets.Location{EnginePath: "kv", SecretPath: path, KVVersion: version},
				)
				Expect(err).NotTo(HaveOccurred())
				Expect(secret.Data).To(HaveKeyWithValue("password", canary+value))
				Expect(secret.Path).To(Equal("kv/" + path))
				Expect(secret.Version).To(BeZero())
				Expect(secret.CreatedTime).To(BeZero())
			},
			Entry("detected", "oracle", "v1", v1alpha1.KVVersion("")),
			Entry("given", "oracle", "v1", v1alpha1.KVVersion1),
			Entry("data/ is a folder like any other", "data/oracle", "below data", v1alpha1.KVVersion("")),
		)

		It("has no versions", func(ctx context.Context) {
			_, err := secrets.Read(ctx, f.session(ctx), secrets.Location{EnginePath: "kv", SecretPath: "oracle", Version: 2})
			Expect(f.said(err, v1alpha1.ReasonInvalidRequest)).To(Equal(
				"version 2 of kv/oracle: the engine is KV version 1, which keeps no versions " + as + "; leave out version"))
		})
	})

	Context("with a wrong location", func() {
		DescribeTable("refuses the path before anything is sent",
			func(ctx context.Context, engine, path, sentence string) {
				_, err := secrets.Read(ctx, f.session(ctx), secrets.Location{EnginePath: engine, SecretPath: path})
				Expect(f.said(err, v1alpha1.ReasonInvalidSpec)).To(Equal(sentence))
				Expect(proxy.Counts()).To(HaveLen(1)) // the login
			},
			Entry("dots", "secret", "a/../b", `secretPath "a/../b": holds ".."; write the path itself`),
			Entry("dots in the engine", "../sys", "a", `enginePath "../sys": holds ".."; write the path itself`),
			Entry("a dot", "secret", "./a", `secretPath "./a": holds "."; write the path itself`),
			Entry("nothing", "secret", "/", `secretPath "/": names nothing; give a path such as team/oracle`),
			Entry("no engine", "", "a", `enginePath "": names nothing; give a path such as team/oracle`),
			Entry("an empty part", "secret", "a//b", `secretPath "a//b": holds an empty part; write one slash, not two`),
			Entry("a line break", "secret", "a\nb", `secretPath "a\nb": holds a character that cannot be printed; leave it out`),
		)

		It("says that the engine is of another type", func(ctx context.Context) {
			f.setToken(f.token(env.TokenOptions{Policies: []string{"root"}}))
			_, err := secrets.Read(ctx, f.session(ctx), secrets.Location{EnginePath: "cubbyhole", SecretPath: "x"})
			Expect(f.said(err, v1alpha1.ReasonInvalidRequest)).To(Equal(
				`the secrets engine at cubbyhole is of type "cubbyhole", not kv ` + as + "; set enginePath to a KV engine"))
			Expect(proxy.Counts()).NotTo(HaveKey("GET cubbyhole/x"))
		})

		It("reads what another engine answers, and has no versions of it", func(ctx context.Context) {
			server.Mount("transit", "transit")
			DeferCleanup(func() { server.Unmount("transit") })
			server.Create("transit/keys/app")
			server.Policy("transit", `path "transit/*" { capabilities = ["read"] }`)
			f.setToken(f.token(env.TokenOptions{Policies: []string{"transit"}}))
			there := secrets.Location{EnginePath: "transit", SecretPath: "keys/app"}
			secret, err := secrets.Read(ctx, f.session(ctx), there)
			Expect(err).NotTo(HaveOccurred())
			Expect(secret.Data).To(HaveKeyWithValue("name", "app"))
			Expect(secret.Data).To(HaveKeyWithValue("type", "aes256-gcm96"))
			Expect(
				[]any{secret.Version, secret.Path, secret.CreatedTime.IsZero()},
			).To(Equal([]any{int64(0), "transit/keys/app", true}))

			there.Version = 1
			_, err = secrets.Read(ctx, f.session(ctx), there)
			Expect(f.said(err, v1alpha1.ReasonInvalidRequest)).To(Equal(
				"version 1 of transit/keys/app: the engine is not KV, which keeps no versions " + as + "; leave out version"))
			_, err = secrets.Read(
				ctx, f.session(ctx),
				secrets.Location{EnginePath: "transit", SecretPath: "keys/app", KVVersion: v1alpha1.KVVersion1},
			)
			Expect(f.said(err, v1alpha1.ReasonInvalidRequest)).To(Equal(
				"the secrets engine at transit is not KV " + as + "; leave out kvVersion, or correct enginePath"))
			_, err = secrets.Read(ctx, f.session(ctx), secrets.Location{EnginePath: "transit", SecretPath: "keys/none"})
			Expect(f.said(err, v1alpha1.ReasonSecretNotFound)).To(ContainSubstring("GET transit/keys/none → 404 no secret at this path"))
			_, err = secrets.CurrentVersion(ctx, f.session(ctx), secrets.Location{EnginePath: "transit", SecretPath: "keys/app"})
			Expect(f.said(err, v1alpha1.ReasonInvalidRequest)).To(ContainSubstring("the engine at transit is not KV, and this needs version 2"))
		})

		It("refuses a secret with a lease, gives the lease back and does not make another", func(ctx context.Context) {
			server.Mount("transit", "transit") // any engine that is not KV; the proxy answers in its place
			DeferCleanup(func() { server.Unmount("transit") })
			server.Policy("transit", `path "transit/*" { capabilities = ["read"] }`)
			f.setToken(f.token(env.TokenOptions{Policies: []string{"transit"}}))
			proxy.Inject(
				env.Fault{
					Path: "transit/nothing", Status: 200, ContentType: "application/json", Body: `{"request_id":"r","data":null}`,
				},
			)
			empty, err := secrets.Read(ctx, f.session(ctx), secrets.Location{EnginePath: "transit", SecretPath: "nothing"})
			Expect(err).NotTo(HaveOccurred())
			Expect(empty.Data).To(BeEmpty(), "an engine that answers without data has no keys")
			proxy.Inject(env.Fault{Path: "transit/creds/app", Status: 200, ContentType: "application/json", Body: `{"request_id":"r","lease_id":"transit/creds/app/` +
				canary + `","lease_duration":60,"data":{"password":"` + canary + `"}}`})
			for range 2 {
				_, err := secrets.Read(ctx, f.session(ctx), secrets.Location{EnginePath: "transit", SecretPath: "creds/app"})
				Expect(f.said(err, v1alpha1.ReasonInvalidRequest)).To(ContainSubstring("GET transit/creds/app → a secret with a lease, made for each reader " + as))
			}
			Expect(proxy.Counts()).To(HaveKeyWithValue("GET transit/creds/app", 1))
			Expect(proxy.Counts()).To(HaveKeyWithValue("POST sys/leases/revoke", 1))
		})

		DescribeTable("never reads what is Vault's own, even with a token that may",
			func(ctx context.Context, engine, path string) {
				f.setToken(f.token(env.TokenOptions{Policies: []string{"root"}}))
				_, err := secrets.Read(ctx, f.session(ctx), at("nothing"))
				Expect(err).To(HaveOccurred())
				proxy.Reset() // it is logged in now, and asks for nothing on its own account
				_, err = secrets.Read(ctx, f.session(ctx), secrets.Location{EnginePath: engine, SecretPath: path})
				Expect(err).To(HaveOccurred())
				Expect(proxy.Counts()).NotTo(HaveKey("GET " + engine + "/" + path))
			},
			Entry("its own token", "auth/token", "lookup-self"),
			Entry("the system's settings", "sys", "mounts"),
			Entry("identities", "identity", "entity/id"),
			Entry("the token's private store", "cubbyhole", "x"),
		)

		It("says where the engine really is", func(ctx context.Context) {
			_, err := secrets.Read(ctx, f.session(ctx), secrets.Location{EnginePath: "secret/data", SecretPath: "oracle"})
			Expect(f.said(err, v1alpha1.ReasonInvalidRequest)).To(Equal(
				"no secrets engine is mounted at secret/data, the nearest is \"secret\" " + as + "; set enginePath to that"))
		})

		It("says that there is no engine", func(ctx context.Context) {
			f.setToken(f.token(env.TokenOptions{Policies: []string{"root"}}))
			_, err := secrets.Read(ctx, f.session(ctx), secrets.Location{EnginePath: "nope", SecretPath: "oracle"})
			Expect(f.said(err, v1alpha1.ReasonSecretNotFound)).To(Equal("GET nope/oracle → 404 no secrets engine is mounted at nope " + as + "; Vault tells this token of no engine at nope: " +
				"correct enginePath if there is none; enable one there, or correct enginePath; " +
				"KV version 1 was assumed: set kvVersion if that is wrong"))
		})

		DescribeTable("split in the wrong place between enginePath and secretPath",
			func(ctx context.Context, policy, reason string, sentence types.GomegaMatcher) {
				server.Mount("team/a/kv", "kv-v2")
				DeferCleanup(server.Unmount, "team/a/kv")
				server.Policy("team", `path "team/a/kv/data/db" { capabilities = ["read"] }`)
				f.setToken(f.token(env.TokenOptions{Policies: []string{policy}}))
				_, err := secrets.Read(ctx, f.session(ctx), secrets.Location{EnginePath: "team", SecretPath: "a/kv/db"})
				Expect(f.said(err, reason)).To(sentence)
			},
			Entry("says where the engine is", "team", v1alpha1.ReasonInvalidRequest,
				Equal("no secrets engine is mounted at team, but one at team/a/kv "+as+
					"; set enginePath to team/a/kv and secretPath to db")),
			Entry("but not to a token that may use nothing there", "default", v1alpha1.ReasonPermissionDenied,
				And(HavePrefix("GET team/a/kv/db → 403"), ContainSubstring("no engine at team: correct enginePath"))),
		)

		It("says that a given KV version is wrong", func(ctx context.Context) {
			server.PutKV("secret/data/oracle", map[string]any{"password": canary})
			server.Policy("all", `path "secret/*" { capabilities = ["read"] }
path "kv/*" { capabilities = ["read"] }`)
			f.setToken(f.token(env.TokenOptions{Policies: []string{"all"}}))
			_, err := secrets.Read(
				ctx, f.session(ctx), secrets.Location{EnginePath: "secret", SecretPath: "oracle", KVVersion: v1alpha1.KVVersion1},
			)
			Expect(f.said(err, v1alpha1.ReasonInvalidRequest)).To(Equal(
				"GET secret/oracle → 404 the engine at secret is KV version 2 " + as + "; leave out kvVersion, or set it to V2"))

			server.PutKV("kv/data/oracle", map[string]any{"password": canary})
			_, err = secrets.Read(
				ctx, f.session(ctx), secrets.Location{EnginePath: "kv", SecretPath: "oracle", KVVersion: v1alpha1.KVVersion2},
			)
			Expect(f.said(err, v1alpha1.ReasonInvalidRequest)).To(Equal(
				"GET kv/data/oracle → 200 not a KV version 2 secret " + as + "; the engine at kv seems to be KV version 1"))
		})
	})

	Context("what the policy does not allow", func() {
		It("says which policy rule is missing, and that kvVersion may help", func(ctx context.Context) {
			f.setToken(f.token(env.TokenOptions{}))
			_, err := secrets.Read(ctx, f.session(ctx), at("data/db"))
			Expect(f.said(err, v1alpha1.ReasonPermissionDenied)).To(Equal(
				`GET secret/data/db → 403 permission denied ` + as + `; Vault tells this token of no engine at secret: ` +
					`correct enginePath if there is none; its policy needs "read" on secret/data/db; ` +
					"KV version 2 was assumed: set kvVersion if that is wrong"))
			_, err = secrets.Read(
				ctx, f.session(ctx), secrets.Location{EnginePath: "secret", SecretPath: "db", KVVersion: v1alpha1.KVVersion2},
			)
			Expect(f.said(err, v1alpha1.ReasonPermissionDenied)).To(Equal(
				`GET secret/data/db → 403 permission denied ` + as + `; its policy needs "read" on secret/data/db`))
		})

		It("uses a token that may not look itself up", func(ctx context.Context) {
			server.PutKV("kv/oracle", map[string]any{"password": canary})
			f.setToken(f.token(env.TokenOptions{Policies: []string{"reader"}, NoDefaultPolicy: true}))
			Expect(f.session(ctx).Token()).To(Equal(auth.TokenInfo{Opaque: true}))
			Expect(f.session(ctx).NextRenewal()).To(BeZero())
			Expect(f.session(ctx).Renew(ctx)).To(Succeed())
			_, err := secrets.Read(ctx, f.session(ctx), secrets.Location{EnginePath: "kv", SecretPath: "oracle"})
			Expect(err).NotTo(HaveOccurred())
		})
	})

	It("bounds what it reads of an answer", func(ctx context.Context) {
		session := f.session(ctx)
		proxy.Inject(
			env.Fault{
				Path: "kv/", Status: 200, ContentType: "application/json",
				Body: fmt.Sprintf(`{"request_id":"x","data":{"a":%q}}`, make([]byte, 3<<20)),
			},
		)
		_, err := secrets.Read(
			ctx, session, secrets.Location{EnginePath: "kv", SecretPath: "x", KVVersion: v1alpha1.KVVersion1},
		)
		Expect(f.said(err, v1alpha1.ReasonVaultUnreachable)).To(ContainSubstring("answered, but not as Vault does: status 200 with more than 4 MiB"))
	})
})

func at(path string) secrets.Location {
	return secrets.Location{EnginePath: "secret", SecretPath: path}
}

func atVersion(path string, version int64) secrets.Location {
	return secrets.Location{EnginePath: "secret", SecretPath: path, Version: version}
}

func write(path string, data map[string]any) {
	GinkgoHelper()
	_, err := server.Client().Logical().Write(path, data)
	Expect(err).NotTo(HaveOccurred())
}

func remove(path string) {
	GinkgoHelper()
	_, err := server.Client().Logical().Delete(path)
	Expect(err).NotTo(HaveOccurred())
}
