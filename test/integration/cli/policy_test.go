package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/policy"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// held is how a spec uses a policy: its objects are there, and works does all that they are for, from the beginning.
type held struct {
	namespace, policy string
	proxy             *env.Proxy
}

// root is the environment of whoever may do everything in Vault.
func root() map[string]string {
	return map[string]string{"VAULT_ADDR": vault.URL(), "VAULT_TOKEN": vault.RootToken(), "VAULT_CACERT": caFile()}
}

// least returns the policy of the namespace's only identity, and writes what the command prints to Vault.
func (h *held) least() policy.Policy {
	GinkgoHelper()
	args := []string{"policy", "-n", h.namespace, "--ask-vault"}
	text := runWith(root(), "", args...)
	Expect(text.Code).To(Equal(0), text.Out+text.Err)
	vault.Policy(h.policy, text.Out)
	listed := runWith(root(), "", append(args, "-o", "json")...)
	made := decode[list[policy.Policy]](listed)
	Expect(made.Items).To(HaveLen(1))
	return made.Items[0]
}

// without writes the policy without one right.
func (h *held) without(made *policy.Policy, path, capability string) {
	var hcl strings.Builder
	for _, rule := range made.Rules {
		capabilities := rule.Capabilities
		if rule.Path == path {
			capabilities = slices.DeleteFunc(slices.Clone(capabilities), func(c string) bool { return c == capability })
		}
		if len(capabilities) > 0 {
			fmt.Fprintf(&hcl, "path %q { capabilities = [\"%s\"] }\n", rule.Path, strings.Join(capabilities, `", "`))
		}
	}
	vault.Policy(h.policy, hcl.String())
}

// proves that everything works with exactly the policy, and not with any right less; but for those that a session needs
// for its own token, if these are proven elsewhere.
func (h *held) proves(works func() error, session bool) {
	GinkgoHelper()
	made := h.least()
	Expect(works()).To(Succeed(), "%+v", made.Rules)
	for _, rule := range made.Rules {
		for _, capability := range rule.Capabilities {
			if !session && strings.HasPrefix(rule.Path, "auth/token/") {
				continue
			}
			h.without(&made, rule.Path, capability)
			Expect(works()).NotTo(Succeed(), "it works without %s on %s: %+v", capability, rule.Path, made.Rules)
		}
	}
	h.least()
	Expect(works()).To(Succeed())
}

// newHeld makes a namespace with the VaultConfig "main", whose token has nothing but the policy.
func newHeld(options ...func(*v1alpha1.VaultConfig)) *held {
	GinkgoHelper()
	h := &held{namespace: newNamespace()}
	h.policy = "least-" + h.namespace
	proxy, err := env.StartProxy(vault)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(proxy.Close)
	h.proxy = proxy
	token := vault.Token(env.TokenOptions{Policies: []string{h.policy}, TTL: time.Hour, NoDefaultPolicy: true})
	create(builder.TokenSecret(h.namespace, builder.TokenSecretName, token))
	create(vault.Config(h.namespace, builder.ConfigName, append([]func(*v1alpha1.VaultConfig){builder.WithURL(proxy.URL())}, options...)...))
	return h
}

// begin returns sessions of a controller that has just started, and the session of the VaultConfig.
func (h *held) begin(clock *clocktesting.FakePassiveClock) (*session.Sessions, *session.Session, error) {
	options := session.Options{Reader: cp.Client, Kubernetes: cp.Clients}
	if clock != nil {
		options.Clock = clock
	}
	sessions, err := session.NewSessions(options)
	if err != nil {
		return nil, nil, err
	}
	config := &v1alpha1.VaultConfig{}
	if err := cp.Client.Get(ctx, client.ObjectKey{Namespace: h.namespace, Name: builder.ConfigName}, config); err != nil {
		return nil, nil, err
	}
	own, err := sessions.For(ctx, config)
	return sessions, own, err
}

// resolves makes the files of a Connection as a controller does that has just started, and does with leases what is
// done with them.
func (h *held) resolves(name string) error {
	sessions, own, err := h.begin(nil)
	if err != nil {
		return err
	}
	connection := &v1alpha1.Connection{}
	if err := cp.Client.Get(ctx, client.ObjectKey{Namespace: h.namespace, Name: name}, connection); err != nil {
		return err
	}
	engine := resolver.NewEngine(cp.Client, sessions, clocktesting.NewFakePassiveClock(time.Now()))
	resolved, err := engine.Resolve(ctx, connection, resolver.Volume{})
	if err != nil {
		return err
	}
	for _, issued := range resolved.Issued {
		if issued.Issued.Lease.ID.Reveal() == "" {
			continue
		}
		id := issued.Issued.Lease.ID
		if _, err := secrets.RenewLease(ctx, own, id, time.Minute); err != nil {
			return err
		}
		if _, err := secrets.LookUpLease(ctx, own, id); err != nil {
			return err
		}
		if err := secrets.RevokeLease(ctx, own, id); err != nil {
			return err
		}
	}
	return nil
}

// lives does what the leader does with the VaultConfig's token.
func (h *held) lives() error {
	_, own, err := h.begin(nil)
	if err != nil {
		return err
	}
	if own.Token().ExpireTime.IsZero() {
		return errors.New("nobody knows when the token ends")
	}
	return own.Renew(ctx)
}

// ends creates a task like the given one, and returns nil when it is complete, and else what it says.
func ends(like *v1alpha1.VaultTask) error {
	GinkgoHelper()
	task := like.DeepCopy()
	task.ResourceVersion, task.Name, task.GenerateName, task.Spec.Suspend = "", "", "run-", nil
	task.UID = ""
	create(task)
	defer func() { _ = cp.Client.Delete(ctx, task) }()
	var failed error
	Eventually(func(g Gomega) {
		g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(task), task)).To(Succeed())
		complete := meta.IsStatusConditionTrue(task.Status.Conditions, v1alpha1.ConditionComplete)
		if ready := meta.FindStatusCondition(task.Status.Conditions, v1alpha1.ConditionReady); ready != nil &&
			ready.Reason == v1alpha1.ReasonPermissionDenied {
			failed = errors.New(ready.Message)
		}
		for _, kind := range []string{v1alpha1.ConditionFailed, v1alpha1.ConditionStalled} {
			if found := meta.FindStatusCondition(task.Status.Conditions, kind); found != nil {
				failed = errors.New(found.Message)
			}
		}
		g.Expect(complete || failed != nil).To(BeTrue(), "%+v", task.Status.Conditions)
	}).Should(Succeed())
	if result := task.Spec.Result; failed == nil && result != nil && result.Wrap != nil && task.Status.Result.Wrapped == nil {
		return errors.New("the result was not wrapped")
	}
	return failed
}

// wrapped is a response-wrapping token.
func wrapped() string {
	GinkgoHelper()
	client, err := vault.Client().Clone()
	Expect(err).NotTo(HaveOccurred())
	client.SetToken(vault.RootToken())
	client.SetWrappingLookupFunc(func(string, string) string { return "5m" })
	answer, err := client.Logical().Write("sys/wrapping/wrap", map[string]any{"w": "1"})
	Expect(err).NotTo(HaveOccurred())
	return answer.WrapInfo.Token
}

func (h *held) kv2(path string) string { return "secret/data/" + h.namespace + "/" + path }

// forget removes a secret with all of its versions.
func (h *held) forget(path string) {
	GinkgoHelper()
	_, err := vault.Client().Logical().Delete("secret/metadata/" + h.namespace + "/" + path)
	Expect(err).NotTo(HaveOccurred())
}

// loses has the answer to the next request lost.
func (h *held) loses(method, path string) {
	h.proxy.Heal()
	h.proxy.Inject(env.Fault{Method: method, Path: path, CloseAfter: true, Times: 1})
}

var _ = Describe("kubectl sallyport policy", Ordered, ContinueOnFailure, func() {
	var database *env.Postgres

	BeforeAll(func() {
		var err error
		database, err = env.StartPostgres(ctx, "")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(database.Close)
		vault.MountDatabase("database", database, map[string]env.DatabaseRole{"app": {DefaultTTL: time.Hour, MaxTTL: 2 * time.Hour}})
		vault.Mount("transit", "transit")
		vault.Create("transit/keys/app")
		vault.Mount("pki", "pki")
		vault.Write("pki/root/generate/internal", map[string]any{"common_name": "root"})
		vault.Write("pki/roles/app", map[string]any{"allow_any_name": true})
		Expect(vault.Client().Sys().MountWithContext(ctx, "team/deep/kv", kvMount("2"))).To(Succeed())
		Expect(vault.Client().Sys().PutPolicy("nothing", `path "nothing" { capabilities = ["read"] }`)).To(Succeed())
		_, err = vault.Client().Logical().Write("sys/policies/password/short", map[string]any{
			"policy": `length = 20 rule "charset" { charset = "abcdefghij" }`,
		})
		Expect(err).NotTo(HaveOccurred())
	})

	It("is the least for every kind of reference", func() {
		h := newHeld()
		vault.PutKV(h.kv2("oracle"), map[string]any{"user": "u", "password": "p"})
		vault.PutKV("kv/"+h.namespace+"/old", map[string]any{"old": "o"})
		_, err := vault.Client().Logical().Write("team/deep/kv/data/"+h.namespace, map[string]any{"data": map[string]any{"deep": "d"}})
		Expect(err).NotTo(HaveOccurred())
		create(builder.Connection(h.namespace, "all", map[string]any{
			"user": "vault.secret(oracle.user)", "old": "vault.secret(old.old)", "deep": "vault.secret(deep.deep)",
			"direct": `vault.secret(main:"` + h.namespace + `/oracle".password)`,
			"key":    "vault.secret(transit.name)", "data": "vault.secret(datakey.ciphertext)", "certificate": "vault.secret(pki.certificate)",
			"login": "vault.secret(database.username)",
		}, builder.WithSecrets(
			builder.VaultSecret("oracle", "data/"+h.namespace+"/oracle"),
			secretAt("old", "kv", h.namespace+"/old"),
			secretAt("deep", "team/deep/kv", h.namespace),
			secretAt("transit", "transit", "keys/app"),
			secretAt("unused", "kv", "never/asked/for"),
			posted(secretAt("datakey", "transit", "datakey/wrapped/app"), nil),
			posted(secretAt("pki", "pki", "issue/app"), map[string]any{"common_name": "x", "ttl": "1h"}),
			secretAt("database", "database", "creds/app"),
		)))
		h.proves(func() error { return errors.Join(h.resolves("all"), h.lives()) }, true)
	})

	It("is the least for a session that logs in", func() {
		h := newHeld()
		vault.EnableAuth("userpass", "userpass")
		vault.Write("auth/userpass/users/"+h.namespace, map[string]any{
			"password": "p", "token_policies": h.policy, "token_no_default_policy": true, "token_ttl": "1h", "token_max_ttl": "10h",
		})
		create(builder.Secret(h.namespace, "user", map[string]string{"password": "p"}))
		config := &v1alpha1.VaultConfig{}
		Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: h.namespace, Name: builder.ConfigName}, config)).To(Succeed())
		config.Spec.Auth = v1alpha1.VaultAuth{UserPass: &v1alpha1.PasswordAuth{
			Username: h.namespace, PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: "user", Key: "password"},
		}}
		Expect(cp.Client.Update(ctx, config)).To(Succeed())
		vault.PutKV(h.kv2("oracle"), map[string]any{"user": "u"})
		create(builder.Connection(h.namespace, "all", map[string]any{"user": "vault.secret(user)"}, builder.WithSecret(h.namespace+"/oracle")))
		await(config, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded) // with a token of its own, which stays
		made := "auth/userpass/login/" + h.namespace
		h.proves(func() error {
			clock := clocktesting.NewFakePassiveClock(time.Now())
			sessions, own, err := h.begin(clock)
			if err != nil {
				return err
			}
			before, id := vault.TokensFrom(made), own.TokenTerm().ID
			clock.SetTime(own.NextRenewal().Add(time.Second))
			if err := own.Do(ctx, func(context.Context, *session.Conn) error { return nil }); err != nil {
				return err
			}
			if own.TokenTerm().ID != id {
				return errors.New("the token was not renewed, but another made")
			}
			answered := make(chan struct{})
			h.proxy.Inject(env.Fault{Path: "auth/token/revoke-self", Times: 1, Rewrite: func(body []byte) []byte {
				close(answered)
				return body
			}})
			sessions.Forget(config.UID)
			Eventually(answered).Should(BeClosed(), "Vault has said whether the token may be given up")
			if vault.TokensFrom(made) >= before {
				return errors.New("the token was not given up")
			}
			return h.resolves("all")
		}, true)
	})

	// Each entry is a task, what is in Vault before it runs, and the request of which an answer is lost.
	type operation struct {
		task   *v1alpha1.VaultTask
		before func(h *held)
		// method and path of the request whose answer is lost in a second run; in the first if lost.
		method, path string
		lostAtOnce   bool
		options      []func(*v1alpha1.VaultConfig)
	}
	old := func(h *held) {
		h.forget("s")
		vault.PutKV(h.kv2("s"), map[string]any{"a": "1"})
	}
	none := func(h *held) { h.forget("s") }
	old1 := func(h *held) { vault.PutKV("kv/"+h.namespace+"/s", map[string]any{"a": "1"}) }
	none1 := func(h *held) { _, _ = vault.Client().Logical().Delete("kv/" + h.namespace + "/s") }
	on := func(op v1alpha1.VaultTaskOperation, options ...func(*v1alpha1.VaultTask)) *v1alpha1.VaultTask {
		return builder.VaultTask("", "task", op, "NAMESPACE/s", append(options, func(t *v1alpha1.VaultTask) { t.Spec.Suspend = new(true) })...)
	}
	at := func(path string, options ...func(*v1alpha1.VaultTask)) func(*v1alpha1.VaultTask) {
		return builder.All(append(options, func(t *v1alpha1.VaultTask) { t.Spec.Path, t.Spec.SecretPath = path, "" })...)
	}
	data := builder.WithData(map[string]v1alpha1.TaskValue{"b": "2"})
	kv1 := func(t *v1alpha1.VaultTask) { t.Spec.EnginePath = "kv" }
	generated := func(t *v1alpha1.VaultTask) { t.Spec.Generate = []v1alpha1.GeneratedValue{{Key: "g"}} }
	versions := func(t *v1alpha1.VaultTask) { t.Spec.Versions = []int64{1} }
	described := func(t *v1alpha1.VaultTask) {
		t.Spec.Metadata = &v1alpha1.SecretMetadataSpec{MaxVersions: new(int64(3))}
	}

	DescribeTable("is the least for every operation of VaultTasks", func(o operation) {
		h := newHeld(o.options...)
		expand := func(text string) string { return strings.ReplaceAll(text, "NAMESPACE", h.namespace) }
		task := o.task.DeepCopy()
		task.Namespace, task.Spec.SecretPath, task.Spec.Path = h.namespace, expand(task.Spec.SecretPath), expand(task.Spec.Path)
		create(task)
		if task.Spec.Unwrap != nil {
			create(builder.Secret(h.namespace, "wrapped", nil))
		}
		h.proves(func() error {
			h.proxy.Heal()
			if o.before != nil {
				o.before(h)
			}
			if task.Spec.Unwrap != nil {
				secret := builder.Secret(h.namespace, "wrapped", map[string]string{"token": wrapped()})
				if err := cp.Client.Update(ctx, secret); err != nil {
					return err
				}
			}
			if !o.lostAtOnce {
				if err := ends(task); err != nil || o.method == "" {
					return err
				}
				if err := ends(task); err != nil { // of what is there now
					return err
				}
			}
			h.loses(o.method, expand(o.path))
			return ends(task)
		}, false)
	},
		Entry("Read", operation{task: on(v1alpha1.OperationRead), before: old}),
		Entry("Read of version 1", operation{task: on(v1alpha1.OperationRead, kv1), before: old1}),
		Entry("Write", operation{task: on(v1alpha1.OperationWrite, data), before: none, method: "POST", path: "secret/data/NAMESPACE/s"}),
		Entry("Write of a version that is named", operation{task: on(v1alpha1.OperationWrite, data, func(t *v1alpha1.VaultTask) { t.Spec.CAS = new(int64(1)) }),
			before: old, method: "POST", path: "secret/data/NAMESPACE/s", lostAtOnce: true}),
		Entry("Write of what is generated", operation{task: on(v1alpha1.OperationWrite, generated), before: none,
			method: "POST", path: "secret/data/NAMESPACE/s", lostAtOnce: true}),
		Entry("Write of what a policy of passwords makes", operation{task: on(v1alpha1.OperationWrite, func(t *v1alpha1.VaultTask) {
			t.Spec.Generate = []v1alpha1.GeneratedValue{{Key: "g", PasswordPolicy: "short"}}
		}), before: none, method: "POST", path: "secret/data/NAMESPACE/s", lostAtOnce: true}),
		Entry("Write of what was wrapped, and wrapped again", operation{task: on(v1alpha1.OperationWrite, func(t *v1alpha1.VaultTask) {
			t.Spec.Unwrap = &v1alpha1.WrappingTokenSource{SecretKeyRef: v1alpha1.SecretKeyReference{Name: "wrapped", Key: "token"}}
			t.Spec.CAS = new(int64(1))
			t.Spec.Result = &v1alpha1.TaskResultRequest{Wrap: &v1alpha1.WrapRequest{TTL: metaMinute()}}
		}), before: old, method: "POST", path: "secret/data/NAMESPACE/s", lostAtOnce: true,
			options: []func(*v1alpha1.VaultConfig){func(c *v1alpha1.VaultConfig) { c.Spec.AllowWrappedResults = new(true) }}}),
		Entry("Write of version 1", operation{task: on(v1alpha1.OperationWrite, data, kv1), before: none1, method: "POST", path: "kv/NAMESPACE/s"}),
		Entry("Write of version 1 of what is generated", operation{task: on(v1alpha1.OperationWrite, generated, kv1), before: none1,
			method: "POST", path: "kv/NAMESPACE/s", lostAtOnce: true}),
		Entry("Patch", operation{task: on(v1alpha1.OperationPatch, data), before: old, method: "PATCH", path: "secret/data/NAMESPACE/s"}),
		Entry("Patch with what is generated", operation{task: on(v1alpha1.OperationPatch, generated), before: old,
			method: "PATCH", path: "secret/data/NAMESPACE/s", lostAtOnce: true}),
		Entry("List", operation{task: on(v1alpha1.OperationList, func(t *v1alpha1.VaultTask) { t.Spec.SecretPath = "NAMESPACE" }), before: old}),
		Entry("List of the top", operation{task: on(v1alpha1.OperationList, func(t *v1alpha1.VaultTask) { t.Spec.SecretPath = "" }), before: old}),
		Entry("List of version 1", operation{task: on(v1alpha1.OperationList, kv1, func(t *v1alpha1.VaultTask) { t.Spec.SecretPath = "NAMESPACE" }), before: old1}),
		Entry("List of the top of version 1", operation{task: on(v1alpha1.OperationList, kv1, func(t *v1alpha1.VaultTask) { t.Spec.SecretPath = "" }), before: old1}),
		Entry("Delete", operation{task: on(v1alpha1.OperationDelete), before: old}),
		Entry("Delete of versions", operation{task: on(v1alpha1.OperationDelete, versions), before: old}),
		Entry("Delete of version 1", operation{task: on(v1alpha1.OperationDelete, kv1), before: old1, method: "DELETE", path: "kv/NAMESPACE/s", lostAtOnce: true}),
		Entry("Undelete", operation{task: on(v1alpha1.OperationUndelete, versions), before: old}),
		Entry("Destroy", operation{task: on(v1alpha1.OperationDestroy, versions), before: old}),
		Entry("Destroy of all", operation{task: on(v1alpha1.OperationDestroy, func(t *v1alpha1.VaultTask) { t.Spec.AllVersions = new(true) }), before: old}),
		Entry("ReadMetadata", operation{task: on(v1alpha1.OperationReadMetadata), before: old}),
		Entry("WriteMetadata", operation{task: on(v1alpha1.OperationWriteMetadata, described), before: none,
			method: "POST", path: "secret/metadata/NAMESPACE/s", lostAtOnce: true}),
		Entry("PatchMetadata", operation{task: on(v1alpha1.OperationPatchMetadata, described), before: old}),
		Entry("DeleteMetadata", operation{task: on(v1alpha1.OperationDeleteMetadata), before: old,
			method: "DELETE", path: "secret/metadata/NAMESPACE/s", lostAtOnce: true}),
		Entry("GenericRead", operation{task: on(v1alpha1.OperationGenericRead, at("transit/keys/app"))}),
		Entry("GenericList", operation{task: on(v1alpha1.OperationGenericList, at("transit/keys"))}),
		Entry("GenericWrite that does something", operation{task: on(v1alpha1.OperationGenericWrite, at("transit/keys/app/rotate"))}),
		Entry("GenericWrite that issues", operation{task: on(v1alpha1.OperationGenericWrite, at("pki/issue/app"),
			builder.WithData(map[string]v1alpha1.TaskValue{"common_name": "x", "ttl": "1h"}))}),
		Entry("GenericDelete", operation{task: on(v1alpha1.OperationGenericDelete, at("kv/NAMESPACE/s")), before: old1}),
		Entry("a path of Vault's own", operation{task: on(v1alpha1.OperationGenericRead, at("sys/policies/acl/nothing")),
			options: []func(*v1alpha1.VaultConfig){func(c *v1alpha1.VaultConfig) { c.Spec.AllowedSystemPaths = []string{"sys/policies/acl"} }}}),
	)

	It("is compared with what a token has", func() {
		h := newHeld()
		create(builder.Connection(h.namespace, "oracle", map[string]any{"p": "vault.secret(p)"}, builder.WithSecret(h.namespace+"/oracle")))
		compare := func(policies ...string) (result, map[string][]string) {
			environment := root()
			environment["VAULT_TOKEN"] = vault.Token(env.TokenOptions{Policies: policies, TTL: time.Hour})
			r := runWith(environment, "", "policy", "vaultconfig/main", "--compare", "-n", h.namespace, "-o", "json")
			found := map[string][]string{}
			for _, d := range decode[list[policy.Difference]](r).Items {
				for _, rule := range d.Missing {
					found["missing"] = append(found["missing"], rule.Path+" "+strings.Join(rule.Capabilities, ","))
				}
				for _, rule := range d.TooMuch {
					found["too much"] = append(found["too much"], rule.Path+" "+strings.Join(rule.Capabilities, ","))
				}
			}
			return r, found
		}
		h.least()
		r, found := compare(h.policy)
		Expect(found).To(BeEmpty())
		Expect(r.Code).To(Equal(0))

		r, found = compare("default")
		Expect(found).To(Equal(map[string][]string{"missing": {h.kv2("oracle") + " read"}}))
		Expect(r.Code).To(Equal(1))

		vault.Policy("wide", `path "secret/*" { capabilities = ["read", "list"] }
			path "secret/+/x" { capabilities = ["update"] }
			path "sys/mounts" { capabilities = ["read"] }`)
		_, found = compare("wide")
		Expect(found).To(Equal(map[string][]string{"too much": {
			"secret/* list,read", "secret/+/x update", h.kv2("oracle") + " list", "sys/mounts read",
		}}))

		text := runWith(root(), "", "policy", "vaultconfig/main", "--compare", "-n", h.namespace)
		Expect(text.Out).To(ContainSubstring("a root token may do everything"))
	})

	It("is made of files, without a cluster", func() {
		r := runWith(nil, `
apiVersion: sallyport.dev/v1alpha1
kind: VaultConfig
metadata: {name: main, namespace: shop}
spec: {url: "https://vault", enginePath: secret, auth: {token: {secretKeyRef: {name: t, key: t}}}}
---
apiVersion: v1
kind: List
items:
- apiVersion: sallyport.dev/v1alpha1
  kind: Connection
  metadata: {name: oracle}
  spec:
    type: t
    value: {user: vault.secret(user)}
    vaultSecrets: [{vaultConfigRef: {name: main}, secretPath: oracle, kvVersion: V2}]
`, "policy", "-f", "-", "-n", "shop", "--kubeconfig", "/does/not/exist")
		Expect(r.Err).To(BeEmpty())
		Expect(r.Out).To(HavePrefix("# VaultConfig shop/main at https://vault\n\n# Connection shop/oracle\n" +
			`path "secret/data/oracle" { capabilities = ["read"] }` + "\n\n# What the session itself needs."))
		Expect(r.Code).To(Equal(0))
		refused := runWith(nil, "a: b\n", "policy", "-f", "-")
		Expect(refused.Code).To(Equal(3))
		mistyped := runWith(nil, `{apiVersion: sallyport.dev/v1alpha1, kind: VaultConfig, metadata: {name: main},
			spec: {url: "https://vault", auth: {token: {secretKeyRef: {name: t, key: t}}}}}`, "policy", "vaultconfig/mian", "-f", "-", "-n", "shop", "--kubeconfig", "/does/not/exist")
		Expect(oneSentence(mistyped)).To(ContainSubstring("there is no VaultConfig mian"))
		Expect(mistyped.Code).To(Equal(3))
	})
})
