package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

var _ = Describe("A pod that mounts a Connection", Ordered, func() {
	var (
		t        *tenant
		pod      *corev1.Pod
		config   *v1alpha1.VaultConfig
		oracle   *v1alpha1.Connection
		user     string
		password string
		number   json.Number
	)

	BeforeAll(func(ctx SpecContext) {
		t = newTenant(ctx)
		user, password, number = newSecret("user"), newSecret("password"), newSecretNumber("number")
		t.put(ctx, "oracle", map[string]any{"user": user, "password": password, "number": number, "flag": true, "list": []string{user}})
		config = t.vaultConfig(mainConfig)
		oracle = t.connection("oracle", map[string]any{
			"host": "my-oracle-server", "service_name": "xe",
			"user": "vault.secret(user)", "password": "vault.secret(password)",
		}, t.secretAt("data/oracle"))
		oracle.Spec.VaultSecrets[0].SecretPath = "data/" + t.namespace + "/oracle"
		create(ctx, config, oracle)
	}, NodeTimeout(eventual))

	It("needs a VaultConfig that is ready and says what it found", func(ctx SpecContext) {
		expectReady(ctx, config)
		Expect(config.Status.Vault).NotTo(BeNil())
		Expect(config.Status.Vault.Version).NotTo(BeEmpty())
		Expect(config.Status.Vault.Sealed).To(BeFalse())
		Expect(config.Status.AuthMethod).To(Equal("token"))
		Expect(config.Status.Token).NotTo(BeNil())
		Expect(config.Status.Token.Renewable).To(BeTrue())
		Expect(config.Status.Token.Policies).To(ContainElement(t.namespace))
		Expect(config.Status.Token.ExpireTime).NotTo(BeNil())
	}, SpecTimeout(eventual))

	It("needs a Connection that is ready and says what it was resolved from", func(ctx SpecContext) {
		expectReady(ctx, oracle)
		Expect(oracle.Status.Secrets).To(HaveLen(1))
		Expect(oracle.Status.Secrets[0].VaultConfig).To(Equal(t.namespace + "/" + mainConfig))
		Expect(oracle.Status.Secrets[0].Path).To(Equal(engine + "/data/" + t.namespace + "/oracle"))
		Expect(oracle.Status.Secrets[0].Version).To(BeNumerically("==", 1))
	}, SpecTimeout(eventual))

	It("finds each value in a file", func(ctx SpecContext) {
		pod = t.run(ctx, "oracle")
		for file, value := range map[string]string{
			"host": "my-oracle-server", "service_name": "xe", "user": user, "password": password, "type": "SQLORACLE",
		} {
			expectFile(pod, file, value)
		}
		Expect(visible(pod)).To(ConsistOf("host", "service_name", "user", "password", "type"))
	}, SpecTimeout(eventual))

	It("has them in memory only, and cannot write to them though it did not ask for that", func() {
		var found []mount
		for _, m := range mountsOf(filepath.Base(filepath.Dir(inPod(pod, "/")))) {
			if m.point == mountPath {
				found = append(found, m)
			}
		}
		Expect(found).To(HaveLen(1))
		Expect(found[0].filesystem).To(Equal("tmpfs"))
		Expect(strings.Split(found[0].options, ",")).To(ContainElements("ro", "nosuid", "nodev", "noexec"))
		for _, path := range []string{"new", "password"} {
			err := os.WriteFile(inPod(pod, filepath.Join(mountPath, path)), nil, 0o600)
			Expect(err).To(MatchError(syscall.EROFS), path)
		}
		info, err := os.Stat(inPod(pod, filepath.Join(mountPath, "password")))
		Expect(err).NotTo(HaveOccurred())
		Expect(info.Mode()).To(Equal(os.FileMode(0o644)))
	})

	It("reads them as a user without rights, and with fsGroup as the only group", func(ctx SpecContext) {
		const group = 4711
		plain, grouped := t.pod("oracle"), t.pod("oracle")
		grouped.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(group))}
		for _, p := range []*corev1.Pod{plain, grouped} {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: new(int64(1000)), RunAsGroup: new(int64(1000))}
			p.Spec.Containers[0].Command = []string{"/bin/sh", "-c",
				"cat " + mountPath + "/password >/dev/null && echo readable by $(id -u); exec sleep 3600"}
			create(ctx, p)
		}
		for _, p := range []*corev1.Pod{plain, grouped} {
			expectRuns(ctx, p, eventual)
			Eventually(ctx, func() []string { return logOf(ctx, p) }).WithTimeout(soon).Should(ConsistOf("readable by 1000\n"))
		}
		info, err := os.Stat(inPod(grouped, filepath.Join(mountPath, "password")))
		Expect(err).NotTo(HaveOccurred())
		Expect(info.Mode()).To(Equal(os.FileMode(0o440)))
		Expect(info.Sys().(*syscall.Stat_t).Gid).To(BeNumerically("==", group))
	}, SpecTimeout(eventual))

	It("can override a value for itself, which is taken literally", func(ctx SpecContext) {
		override := t.pod("oracle")
		attributes(override)["value.service_name"] = "xe2"
		attributes(override)["value.user"] = "vault.secret(password)"
		create(ctx, override)
		expectRuns(ctx, override, eventual)
		expectFile(override, "service_name", "xe2")
		expectFile(override, "user", "vault.secret(password)")
		expectFile(override, "host", "my-oracle-server")
		expectFile(override, "password", password)
		expectFile(pod, "service_name", "xe")
	}, SpecTimeout(eventual))

	It("gets nested and typed values as JSON", func(ctx SpecContext) {
		nested := t.connection("nested", map[string]any{
			"number": "vault.secret(number)",
			"flag":   "vault.secret(flag)",
			"list":   []any{"vault.secret(number)", "vault.secret(flag)", 1, nil},
			"url":    "jdbc:oracle:thin:vault.secret(user)/vault.secret(number)@host",
			"plain":  `vault.text("vault.secret(user)")`,
			"deep":   map[string]any{"a": map[string]any{"user": "vault.secret(user)", "all": "vault.secret(list)"}},
			"direct": `vault.secret(main:"` + t.namespace + `/oracle".password)`,
		}, t.secretAt("oracle"))
		create(ctx, nested)
		pod := t.run(ctx, "nested")
		expectFile(pod, "number", number.String())
		expectFile(pod, "flag", "true")
		expectFile(pod, "list", "["+number.String()+",true,1,null]")
		expectFile(pod, "url", "jdbc:oracle:thin:"+user+"/"+number.String()+"@host")
		expectFile(pod, "plain", "vault.secret(user)")
		expectFile(pod, "direct", password)
		deep, err := read(pod, "deep")
		Expect(err).NotTo(HaveOccurred())
		expected, err := json.Marshal(map[string]any{"a": map[string]any{"user": user, "all": []string{user}}})
		Expect(err).NotTo(HaveOccurred())
		Expect(deep).To(MatchJSON(expected))
	}, SpecTimeout(eventual))
})

// visible lists the files of the pod's volume as ls does.
func visible(pod *corev1.Pod) []string {
	GinkgoHelper()
	entries, err := os.ReadDir(inPod(pod, mountPath))
	Expect(err).NotTo(HaveOccurred())
	var names []string
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			names = append(names, entry.Name())
		}
	}
	return names
}
