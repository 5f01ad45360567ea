package integration

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

var _ = Describe("The files of a Connection", func() {
	var namespace, password string

	BeforeEach(func() {
		namespace = newNamespace()
		readyConfig(namespace)
		password = canary() + `'"$x` + "\n`\\ü"
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{
			"user": "scott", "password": password, "port": 1521, "store": base64.StdEncoding.EncodeToString([]byte("\x00\xff\xfe")),
		})
	})

	It("have the formats, texts, templates, modes and bytes that their author chose, and follow Vault", func() {
		mode := int32(0o400)
		c := builder.Connection(namespace, "files", map[string]any{
			"user": "vault.secret(user)", "password": "vault.secret(password)", "port": "vault.secret(port)",
		}, builder.WithSecret(namespace+"/oracle"), builder.WithShortestRefresh, builder.WithFiles(
			v1alpha1.ConnectionFile{Path: "app.json", Format: v1alpha1.FileFormatJSON},
			v1alpha1.ConnectionFile{Path: "app.yaml", Format: v1alpha1.FileFormatYAML},
			v1alpha1.ConnectionFile{Path: "app.env", Format: v1alpha1.FileFormatEnv},
			v1alpha1.ConnectionFile{Path: "app.properties", Format: v1alpha1.FileFormatProperties},
			v1alpha1.ConnectionFile{Path: "jdbc.url", Value: "jdbc:oracle:thin:vault.secret(user)@host:vault.secret(port)", Mode: &mode},
			v1alpha1.ConnectionFile{Path: "store.p12", Value: "vault.secret(store)", Encoding: v1alpha1.FileEncodingBase64},
			v1alpha1.ConnectionFile{Path: "app.conf", Template: "{{ range $k, $v := . }}{{ $k }} = {{ quote $v }}\n{{ end }}"},
		))
		c.Spec.Provider = "bitnami"
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		caller := newCaller(replica)
		pod := newPod(namespace, map[string]string{"connection": "files", "value.user": "o'brien"})
		response, err := mountEventually(caller, pod)
		Expect(err).NotTo(HaveOccurred())
		found := files(response)
		Expect(found).To(HaveLen(9))
		Expect(found).To(HaveKeyWithValue("type", "test"))
		Expect(found).To(HaveKeyWithValue("provider", "bitnami"))
		Expect(found).To(HaveKeyWithValue("jdbc.url", "jdbc:oracle:thin:scott@host:1521"), "an override is one of value, not of references elsewhere")
		Expect(found).To(HaveKeyWithValue("store.p12", "\x00\xff\xfe"))
		Expect(found["app.env"]).To(HavePrefix(`password="canary-`))
		Expect(found["app.env"]).To(HaveSuffix("port=1521\nuser=\"o'brien\"\n"))
		Expect(found["app.properties"]).To(HaveSuffix("\nport=1521\nuser=o'brien\n"))
		whole := map[string]any{"user": "o'brien", "password": password, "port": 1521.0}
		var parsed map[string]any
		Expect(json.Unmarshal([]byte(found["app.json"]), &parsed)).To(Succeed())
		Expect(parsed).To(Equal(whole))
		parsed = nil
		Expect(yaml.Unmarshal([]byte(found["app.yaml"]), &parsed)).To(Succeed())
		Expect(parsed).To(Equal(whole))
		Expect(found["app.conf"]).To(HaveSuffix("port = \"1521\"\nuser = \"o'brien\"\n"))
		for _, file := range response.GetFiles() {
			Expect(file.GetMode()).To(Equal(map[string]uint32{"jdbc.url": 0o400}[file.GetPath()]))
		}

		By("a new version in Vault")
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"user": "tiger", "password": "new", "port": 1, "store": "AA=="})
		Eventually(func(g Gomega) {
			next, err := caller.mount(pod, response.GetRevision())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(files(next)).To(HaveKeyWithValue("app.env", "password=new\nport=1\nuser=\"o'brien\"\n"))
			g.Expect(files(next)).To(HaveKeyWithValue("store.p12", "\x00"))
		}).Should(Succeed())
	})

	DescribeTable("that cannot be made say what is wrong and where, and show no value",
		func(reason, sentence string, file v1alpha1.ConnectionFile) {
			c := builder.Connection(namespace, "broken", map[string]any{"user": "vault.secret(user)", "password": "vault.secret(password)",
				"nul": "a\x00b"}, builder.WithSecret(namespace+"/oracle"), builder.WithFiles(file))
			create(c)
			expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionFalse, reason, HavePrefix("Connection "+namespace+"/broken, "+sentence))
		},
		Entry("a missing key, with its line", v1alpha1.ReasonInvalidTemplate, `file "f": line 2: .pasword: there is no such key`,
			v1alpha1.ConnectionFile{Path: "f", Template: "x\n{{ .pasword }}"}),
		Entry("an unknown function", v1alpha1.ReasonInvalidTemplate, `file "f": line 3: function "env" not defined`,
			v1alpha1.ConnectionFile{Path: "f", Template: "\n\n{{ env \"HOME\" }}"}),
		Entry("a loop without an end", v1alpha1.ReasonInvalidTemplate, `file "f": line 1: the templates of this Connection do too much work`,
			v1alpha1.ConnectionFile{Path: "f", Template: "{{ range 9999999999 }}{{ end }}"}),
		Entry("a value that the format cannot hold", v1alpha1.ReasonNotRepresentable, `file "f": key "nul" holds a NUL character`,
			v1alpha1.ConnectionFile{Path: "f", Format: v1alpha1.FileFormatEnv}),
		Entry("what is not base64", v1alpha1.ReasonNotRepresentable, `file "f": its text is not base64`,
			v1alpha1.ConnectionFile{Path: "f", Value: "not base64", Encoding: v1alpha1.FileEncodingBase64}),
		Entry("a template that makes no JSON of any value", v1alpha1.ReasonNotRepresentable,
			`file "f": line 2 of what the template makes is no JSON, whatever the values are`,
			v1alpha1.ConnectionFile{Path: "f", Format: v1alpha1.FileFormatJSON, Template: "{\n'a': {{ .password }}}"}),
		Entry("a reference that leads nowhere", v1alpha1.ReasonKeyMissing, `file "f": no attached secret has the key "missing"`,
			v1alpha1.ConnectionFile{Path: "f", Value: "x vault.secret(missing)"}),
		Entry("a reference that cannot be parsed", v1alpha1.ReasonInvalidExpression, `file "f": column 3`,
			v1alpha1.ConnectionFile{Path: "f", Value: "x vault.read(y)"}),
	)

	DescribeTable("are refused by the API server",
		func(sentence string, files ...v1alpha1.ConnectionFile) {
			err := cp.Client.Create(ctx, builder.Connection(namespace, "refused", nil, builder.WithFiles(files...)))
			Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%v", err)
			Expect(err).To(MatchError(ContainSubstring(sentence)))
		},
		Entry("two of format, value, template and keystore", "set exactly one of format, value, template and keystore", v1alpha1.ConnectionFile{Path: "f", Value: "x", Template: "x"}),
		Entry("another format than JSON beside a template", "only the format JSON may stand beside template",
			v1alpha1.ConnectionFile{Path: "f", Format: v1alpha1.FileFormatYAML, Template: "x"}),
		Entry("JSON beside a text", "only the format JSON may stand beside template",
			v1alpha1.ConnectionFile{Path: "f", Format: v1alpha1.FileFormatJSON, Value: "{}"}),
		Entry("none of them", "set exactly one of format, value, template and keystore", v1alpha1.ConnectionFile{Path: "f"}),
		Entry("a way out", "no part of path may be '.' or begin with '..'", v1alpha1.ConnectionFile{Path: "../../etc/passwd", Value: "x"}),
		Entry("an absolute path", "it begins and ends with none", v1alpha1.ConnectionFile{Path: "/etc/passwd", Value: "x"}),
		Entry("a directory", "it begins and ends with none", v1alpha1.ConnectionFile{Path: "a/", Value: "x"}),
		Entry("too many directories", "at most 8 parts", v1alpha1.ConnectionFile{Path: "a/a/a/a/a/a/a/a/a", Value: "x"}),
		Entry("a way round", "no part of path may be '.' or begin with '..'", v1alpha1.ConnectionFile{Path: "a/../b", Value: "x"}),
		Entry("a directory of the file type", "written from spec.type and spec.provider", v1alpha1.ConnectionFile{Path: "type/a", Value: "x"}),
		Entry("the volume's own", "no part of path may be '.' or begin with '..'", v1alpha1.ConnectionFile{Path: "..data", Value: "x"}),
		Entry("the file type", "written from spec.type and spec.provider", v1alpha1.ConnectionFile{Path: "type", Value: "x"}),
		Entry("the file provider", "written from spec.type and spec.provider", v1alpha1.ConnectionFile{Path: "provider", Value: "x"}),
		Entry("the same path twice", "Duplicate value", v1alpha1.ConnectionFile{Path: "f", Value: "x"}, v1alpha1.ConnectionFile{Path: "f", Template: "x"}),
		Entry("an unknown format", "Unsupported value", v1alpha1.ConnectionFile{Path: "f", Format: "TOML"}),
		Entry("an encoded format", "encoding is for value and template", v1alpha1.ConnectionFile{Path: "f", Format: v1alpha1.FileFormatJSON, Encoding: v1alpha1.FileEncodingBase64}),
		Entry("a mode that nobody could read", "mode must be between 0400 and 0777", v1alpha1.ConnectionFile{Path: "f", Value: "x", Mode: new(int32)}),
		Entry("a template that is too long", "Too long", v1alpha1.ConnectionFile{Path: "f", Template: strings.Repeat("x", 65537)}),
	)

	It("are JSON where a template has to make it, which shows with a pod's values only", func() {
		template := func(password string) v1alpha1.ConnectionFile {
			return v1alpha1.ConnectionFile{
				Path: "app.json", Format: v1alpha1.FileFormatJSON, Template: `{"db": {"password": ` + password + "}}\n",
			}
		}
		c := builder.Connection(namespace, "json", map[string]any{"password": "vault.secret(password)"},
			builder.WithSecret(namespace+"/oracle"), builder.WithShortestRefresh, builder.WithFiles(template(`"{{ .password }}"`)))
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		caller := newCaller(replica)
		pod := newPod(namespace, map[string]string{"connection": "json"})
		Eventually(func(g Gomega) {
			_, err := caller.mount(pod)
			g.Expect(err).To(MatchError(HaveSuffix(`file "app.json": what the template makes is no JSON; have toJson write each value, ` +
				`quotes included: "password": {{ toJson .password }}`)))
		}).Should(Succeed())

		update(c, func(c *v1alpha1.Connection) {
			c.Spec.Files = []v1alpha1.ConnectionFile{template("{{ toJson .password }}")}
		})
		Eventually(func(g Gomega) {
			response, err := caller.mount(pod)
			g.Expect(err).NotTo(HaveOccurred())
			var parsed map[string]map[string]any
			g.Expect(json.Unmarshal([]byte(files(response)["app.json"]), &parsed)).To(Succeed())
			g.Expect(parsed["db"]["password"]).To(Equal(password))
		}).Should(Succeed())
	})

	It("cannot be larger than the cap, however many keys there are", func() {
		large := map[string]any{}
		for i := range 10_000 {
			large["K"+strings.Repeat("x", 20)+string(rune('a'+i%26))+base64.RawURLEncoding.EncodeToString([]byte{byte(i), byte(i >> 8)})] = "v"
		}
		vault.PutKV("secret/data/"+namespace+"/many", map[string]any{"all": large, "blob": strings.Repeat("x", 600<<10)})
		c := builder.Connection(namespace, "many", map[string]any{"all": "vault.secret(all)"}, builder.WithSecret(namespace+"/many"),
			builder.WithFiles(v1alpha1.ConnectionFile{Path: "names", Template: "{{ range $k, $v := .all }}{{ $k }}={{ $v }}\n{{ end }}"}))
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		response, err := mountEventually(newCaller(replica), newPod(namespace, map[string]string{"connection": "many"}))
		Expect(err).NotTo(HaveOccurred())
		Expect(strings.Count(files(response)["names"], "\n")).To(Equal(10_000))

		update(c, func(c *v1alpha1.Connection) {
			c.Spec.Value = builder.JSON(map[string]any{"blob": "vault.secret(blob)"})
			c.Spec.Files = []v1alpha1.ConnectionFile{{Path: "twice", Template: "{{ .blob }}{{ .blob }}"}}
		})
		Eventually(func(g Gomega) {
			_, err := newCaller(replica).mount(newPod(namespace, map[string]string{"connection": "many"}))
			g.Expect(err).To(MatchError(ContainSubstring(`file "twice": it has more than 1048576 bytes`)))
		}).Should(Succeed())
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})
})

var _ = Describe("A Connection as a Service Binding", func() {
	It("has the entries that client libraries look for: type, provider, and the keys", func() {
		namespace := newNamespace()
		readyConfig(namespace)
		password := canary()
		vault.PutKV("secret/data/"+namespace+"/pg", map[string]any{"username": "u", "password": password})
		create(builder.Connection(namespace, "db", map[string]any{
			"host": "db.example.com", "port": 5432, "database": "shop", "username": "vault.secret(username)", "password": "vault.secret(password)",
		}, builder.WithSecret(namespace+"/pg"), func(c *v1alpha1.Connection) { c.Spec.Type, c.Spec.Provider = "postgresql", "bitnami" }))
		response, err := mountEventually(newCaller(replica), newPod(namespace, map[string]string{"connection": "db"}))
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(Equal(map[string]string{
			"type": "postgresql", "provider": "bitnami", "host": "db.example.com", "port": "5432", "database": "shop", "username": "u", "password": password,
		}))
	})
})
