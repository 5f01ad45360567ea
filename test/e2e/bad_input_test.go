package e2e

import (
	"context"
	"net"
	"slices"
	"strings"

	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// misconfiguration keeps a pod from starting; it has a remedy.
type misconfiguration struct {
	reason   string
	sentence string
	// name of the Connection and of everything else that the misconfiguration needs for itself.
	name   string
	apply  func(ctx context.Context, m *misconfiguration, t *tenant)
	remedy func(ctx context.Context, m *misconfiguration, t *tenant)

	pod        *corev1.Pod
	config     *v1alpha1.VaultConfig
	connection *v1alpha1.Connection
}

var _ = Describe("A mistake keeps a pod from starting with a sentence that says why:", Ordered, func() {
	var (
		t        *tenant
		password string
	)
	misconfigurations := allMisconfigurations()

	BeforeAll(func(ctx SpecContext) {
		t = newReadyTenant(ctx)
		password = newSecret("password")
		t.put(ctx, "db", map[string]any{"password": password})
		for _, m := range misconfigurations {
			m.config, m.connection = t.vaultConfig(m.name), t.ordinary(m.name)
			m.apply(ctx, m, t)
			if m.pod == nil {
				m.pod = t.pod(m.name)
			}
			create(ctx, m.pod)
		}
	}, NodeTimeout(eventual))

	for _, m := range misconfigurations {
		It(m.name, func(ctx SpecContext) {
			expectFailedMount(ctx, m.pod, m.reason, strings.ReplaceAll(m.sentence, "NS", t.namespace))
			// These are about the pod, or about values, of which the check of a Connection says nothing.
			ofPod := []string{v1alpha1.ReasonConnectionNotFound, v1alpha1.ReasonNotAllowed, v1alpha1.ReasonUnknownOverride, v1alpha1.ReasonTooLarge}
			if !slices.Contains(ofPod, m.reason) {
				Expect(expectNotReady(ctx, m.connection, m.reason).Message).To(ContainSubstring(strings.ReplaceAll(m.sentence, "NS", t.namespace)))
			}
			m.remedy(ctx, m, t)
		}, SpecTimeout(eventual))
	}

	It("and once it is cured, the pod starts by itself", func(ctx SpecContext) {
		for _, m := range misconfigurations {
			expectRuns(ctx, m.pod, atLast)
			content, err := read(m.pod, "password")
			Expect(err).NotTo(HaveOccurred())
			Expect(content).To(HavePrefix(canaries.marker), "file password of the pod of %q", m.name)
			Expect(condition(ctx, m.connection, v1alpha1.ConditionReady)).NotTo(BeNil())
		}
		for _, m := range misconfigurations {
			expectReady(ctx, m.connection)
		}
	}, SpecTimeout(2*atLast))
})

// ordinary builds a Connection in which nothing is wrong.
func (t *tenant) ordinary(name string) *v1alpha1.Connection {
	GinkgoHelper()
	return t.connection(name, map[string]any{"host": "db", "password": "vault.secret(password)"}, t.secretAt("db"))
}

// useOwnConfig lets the Connection of the misconfiguration use the VaultConfig of its own.
func (m *misconfiguration) useOwnConfig() {
	m.connection.Spec.VaultSecrets[0].VaultConfigRef.Name = m.name
}

func (m *misconfiguration) read(path string) { m.connection.Spec.VaultSecrets[0].SecretPath = path }

// allMisconfigurations lists the misconfigurations. Most have only the Connection in common.
func allMisconfigurations() []*misconfiguration {
	put := func(path string) func(context.Context, *misconfiguration, *tenant) {
		return func(ctx context.Context, _ *misconfiguration, t *tenant) {
			t.put(ctx, path, map[string]any{"password": newSecret("password at " + path)})
		}
	}
	return []*misconfiguration{{
		name: "missing-connection", reason: v1alpha1.ReasonConnectionNotFound, sentence: "Connection NS/missing-connection does not exist",
		apply:  func(context.Context, *misconfiguration, *tenant) {},
		remedy: func(ctx context.Context, m *misconfiguration, _ *tenant) { create(ctx, m.connection) },
	}, {
		name: "missing-config", reason: v1alpha1.ReasonConfigNotFound, sentence: "VaultConfig NS/missing-config does not exist",
		apply:  func(ctx context.Context, m *misconfiguration, _ *tenant) { m.useOwnConfig(); create(ctx, m.connection) },
		remedy: func(ctx context.Context, m *misconfiguration, _ *tenant) { create(ctx, m.config) },
	}, {
		name: "disabled-config", reason: v1alpha1.ReasonConfigDisabled, sentence: "VaultConfig NS/disabled-config is disabled (spec.enabled: false)",
		apply: func(ctx context.Context, m *misconfiguration, _ *tenant) {
			m.useOwnConfig()
			m.config.Spec.Enabled = new(false)
			create(ctx, m.config, m.connection)
		},
		remedy: func(ctx context.Context, m *misconfiguration, _ *tenant) {
			change(ctx, m.config, func(c *v1alpha1.VaultConfig) { c.Spec.Enabled = nil })
		},
	}, {
		name: "missing-token", reason: v1alpha1.ReasonCredentialMissing, sentence: "Secret NS/missing-token",
		apply: func(ctx context.Context, m *misconfiguration, _ *tenant) {
			m.useOwnConfig()
			m.config.Spec.Auth.Token.SecretKeyRef.Name = m.name
			create(ctx, m.config, m.connection)
		},
		remedy: func(ctx context.Context, m *misconfiguration, t *tenant) {
			t.keepToken(ctx, m.name, t.newToken(ctx, nil))
		},
	}, {
		name: "revoked-token", reason: v1alpha1.ReasonAuthFailed, sentence: "VaultConfig NS/revoked-token",
		apply: func(ctx context.Context, m *misconfiguration, t *tenant) {
			m.useOwnConfig()
			m.config.Spec.Auth.Token.SecretKeyRef.Name = m.name
			token := t.newToken(ctx, nil)
			t.keepToken(ctx, m.name, token)
			Expect(vault.Auth().Token().RevokeTreeWithContext(ctx, token)).To(Succeed())
			create(ctx, m.config, m.connection)
		},
		remedy: func(ctx context.Context, m *misconfiguration, t *tenant) {
			t.keepToken(ctx, m.name, t.newToken(ctx, nil))
		},
	}, {
		name: "powerless-token", reason: v1alpha1.ReasonPermissionDenied, sentence: `403 permission denied (VaultConfig NS/powerless-token`,
		apply: func(ctx context.Context, m *misconfiguration, t *tenant) {
			m.useOwnConfig()
			m.config.Spec.Auth.Token.SecretKeyRef.Name = m.name
			t.keepToken(ctx, m.name, t.newToken(ctx, func(r *vaultapi.TokenCreateRequest) { r.Policies = []string{"default"} }))
			create(ctx, m.config, m.connection)
		},
		remedy: func(ctx context.Context, m *misconfiguration, t *tenant) {
			t.keepToken(ctx, m.name, t.newToken(ctx, nil))
		},
	}, {
		name: "wrong-authority", reason: v1alpha1.ReasonTLSFailed, sentence: "its certificate is signed by an unknown authority",
		apply: func(ctx context.Context, m *misconfiguration, _ *tenant) {
			m.useOwnConfig()
			m.config.Spec.CACertificate, _ = selfSigned(net.IPv4(127, 0, 0, 1))
			create(ctx, m.config, m.connection)
		},
		remedy: func(ctx context.Context, m *misconfiguration, _ *tenant) {
			change(ctx, m.config, func(c *v1alpha1.VaultConfig) { c.Spec.CACertificate = vaultCA })
		},
	}, {
		name: "missing-secret", reason: v1alpha1.ReasonSecretNotFound, sentence: "GET secret/data/NS/missing-secret → 404",
		apply: func(ctx context.Context, m *misconfiguration, t *tenant) {
			m.read(t.namespace + "/missing-secret")
			create(ctx, m.connection)
		},
		remedy: put("missing-secret"),
	}, {
		name: "missing-key", reason: v1alpha1.ReasonKeyMissing, sentence: `Connection NS/missing-key, key "password": no attached secret has the key "password"`,
		apply: func(ctx context.Context, m *misconfiguration, t *tenant) {
			t.put(ctx, "missing-key", map[string]any{"pasword": newSecret("misspelt")})
			m.read(t.namespace + "/missing-key")
			create(ctx, m.connection)
		},
		remedy: put("missing-key"),
	}, {
		name: "ambiguous-key", reason: v1alpha1.ReasonAmbiguousKey, sentence: `Connection NS/ambiguous-key, key "password": 2 attached secrets have the key "password"; say which: `,
		apply: func(ctx context.Context, m *misconfiguration, t *tenant) {
			t.put(ctx, "second", map[string]any{"password": newSecret("second")})
			m.connection.Spec.VaultSecrets = append(m.connection.Spec.VaultSecrets, t.secretAt("second"))
			m.connection.Spec.VaultSecrets[1].Name = "second"
			create(ctx, m.connection)
		},
		remedy: func(ctx context.Context, m *misconfiguration, _ *tenant) {
			change(ctx, m.connection, func(c *v1alpha1.Connection) {
				c.Spec.Value["password"] = builder.JSON(map[string]any{"x": "vault.secret(second.password)"})["x"]
			})
		},
	}, {
		name: "bad-expression", reason: v1alpha1.ReasonInvalidExpression, sentence: `Connection NS/bad-expression, key "password"`,
		apply: func(ctx context.Context, m *misconfiguration, _ *tenant) {
			m.connection.Spec.Value = builder.JSON(map[string]any{"password": "vault.secret(password"})
			create(ctx, m.connection)
		},
		remedy: fixValue,
	}, {
		name: "bad-file-name", reason: v1alpha1.ReasonInvalidFileName, sentence: `Connection NS/bad-file-name, key "no/file" of value cannot be the name of a file`,
		apply: func(ctx context.Context, m *misconfiguration, _ *tenant) {
			m.connection.Spec.Value = builder.JSON(map[string]any{"no/file": "vault.secret(password)"})
			create(ctx, m.connection)
		},
		remedy: fixValue,
	}, {
		name: "too-large", reason: v1alpha1.ReasonTooLarge, sentence: "a volume holds at most 1048576",
		apply: func(ctx context.Context, m *misconfiguration, t *tenant) {
			t.put(ctx, "too-large", map[string]any{"password": newSecretOf("large", 600_000)})
			m.read(t.namespace + "/too-large")
			m.connection.Spec.Value = builder.JSON(map[string]any{"password": "vault.secret(password)", "again": "vault.secret(password)"})
			create(ctx, m.connection)
		},
		remedy: fixValue,
	}, {
		name: "not-allowed", reason: v1alpha1.ReasonNotAllowed,
		sentence: "Connection NS/not-allowed may not be mounted by pods of service account default: it is not among allowedServiceAccounts",
		apply: func(ctx context.Context, m *misconfiguration, _ *tenant) {
			m.connection.Spec.AllowedServiceAccounts = []string{"someone-else"}
			create(ctx, m.connection)
		},
		remedy: func(ctx context.Context, m *misconfiguration, _ *tenant) {
			change(ctx, m.connection, func(c *v1alpha1.Connection) { c.Spec.AllowedServiceAccounts = []string{"someone-else", "default"} })
		},
	}, {
		name: "unknown-override", reason: v1alpha1.ReasonUnknownOverride, sentence: "Connection NS/unknown-override",
		apply: func(ctx context.Context, m *misconfiguration, t *tenant) {
			m.pod = t.pod(m.name)
			attributes(m.pod)["value.port"] = "1521"
			create(ctx, m.connection)
		},
		remedy: func(ctx context.Context, m *misconfiguration, _ *tenant) {
			change(ctx, m.connection, func(c *v1alpha1.Connection) { c.Spec.Value["port"] = builder.JSON(map[string]any{"x": 1522})["x"] })
		},
	}}
}

// fixValue gives the Connection of the misconfiguration the ordinary value.
func fixValue(ctx context.Context, m *misconfiguration, t *tenant) {
	GinkgoHelper()
	change(ctx, m.connection, func(c *v1alpha1.Connection) { c.Spec.Value = t.ordinary(m.name).Spec.Value })
}
