package rights

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// unbounded returns the paths of texts, lists and maps that have no limit. Times and enumerations have one by what they
// are.
func unbounded(schema apiextensionsv1.JSONSchemaProps, path string) []string {
	var found []string
	switch {
	case schema.Type == "string" && schema.MaxLength == nil && schema.Format == "" && len(schema.Enum) == 0:
		found = append(found, path)
	case schema.Type == "array" && schema.MaxItems == nil, schema.AdditionalProperties != nil && schema.MaxProperties == nil:
		found = append(found, path)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		found = append(found, unbounded(*schema.Items.Schema, path+"[]")...)
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		found = append(found, unbounded(schema.Properties[name], path+"."+name)...)
	}
	return found
}

var _ = Describe("The size of an object", func() {
	It("is bounded in every field of status", func() {
		// A duration is written by the controller from a number. Custom metadata has a rule for its keys and values.
		Expect(unbounded(schemaOf("VaultConfig", "status"), "")).To(BeEmpty())
		Expect(unbounded(schemaOf("Connection", "status"), "")).To(BeEmpty())
		Expect(unbounded(schemaOf("VaultTask", "status"), "")).To(ConsistOf(".result.metadata.deleteVersionAfter"))
	})

	It("is bounded as a whole, by kind", func() {
		namespace := newNamespace()
		text := func(kibibytes int) string { return strings.Repeat("x", kibibytes<<10) }
		connection := func(kibibytes int) client.Object {
			return written("Connection", namespace, "large", fmt.Sprintf("type: t\nvalue: {a: {deep: [%s]}}", text(kibibytes)))
		}
		Expect(cp.Client.Create(ctx, connection(255), client.DryRunAll)).To(Succeed())
		Expect(cp.Client.Create(ctx, connection(257), client.DryRunAll)).To(MatchError(ContainSubstring("the spec is larger than 256 KiB")))

		runes := func(kibirunes int) client.Object {
			return written("Connection", namespace, "large", fmt.Sprintf("type: t\nvalue: {a: {deep: [%s]}}", strings.Repeat("\U0001F512", kibirunes<<10)))
		}
		Expect(cp.Client.Create(ctx, runes(63), client.DryRunAll)).To(Succeed())
		Expect(cp.Client.Create(ctx, runes(65), client.DryRunAll)).To(MatchError(ContainSubstring("the spec is larger than 256 KiB")), "bytes count, not characters")

		files := func(number int) client.Object {
			var all strings.Builder
			for i := range number {
				fmt.Fprintf(&all, "- {path: f%d, value: %s}\n", i, text(60))
			}
			return written("Connection", namespace, "large", "type: t\nfiles:\n"+all.String())
		}
		Expect(cp.Client.Create(ctx, files(4), client.DryRunAll)).To(Succeed())
		Expect(cp.Client.Create(ctx, files(5), client.DryRunAll)).To(MatchError(ContainSubstring("the spec is larger than 256 KiB")))

		task := func(keys int) client.Object {
			var all strings.Builder
			for i := range keys {
				fmt.Fprintf(&all, "  k%d: %s\n", i, text(250))
			}
			return written("VaultTask", namespace, "large", "vaultConfigRef: {name: main}\noperation: Write\nsecretPath: x\ndata:\n"+all.String())
		}
		Expect(cp.Client.Create(ctx, task(3), client.DryRunAll)).To(Succeed())
		Expect(cp.Client.Create(ctx, task(4), client.DryRunAll)).To(MatchError(ContainSubstring("the spec is larger than 768 KiB")))

		config := func(paths int) client.Object {
			var all strings.Builder
			for i := range 32 {
				all.WriteString("- pathPrefixes:\n")
				for j := range paths {
					fmt.Fprintf(&all, "  - %s%d-%d\n", strings.Repeat("x", 500), i, j)
				}
				all.WriteString("  names: [a]\n")
			}
			return written("VaultConfig", namespace, "large",
				"url: https://vault\nauth: {token: {secretKeyRef: {name: t, key: k}}}\ncaCertificate: "+text(255)+"\nallowedNamespaces:\n"+all.String())
		}
		Expect(cp.Client.Create(ctx, config(10), client.DryRunAll)).To(Succeed())
		Expect(cp.Client.Create(ctx, config(32), client.DryRunAll)).To(MatchError(ContainSubstring("the spec is larger than 512 KiB")))
	})

	It("is bounded in the annotation that runs a VaultTask again, which goes into status", func() {
		object := written("VaultTask", newNamespace(), "list", "vaultConfigRef: {name: main}\noperation: List")
		create(object)
		rerun := func(text string) error {
			return cp.Client.Patch(ctx, object.DeepCopy(), client.RawPatch(types.MergePatchType,
				fmt.Appendf(nil, `{"metadata":{"annotations":{"sallyport.dev/rerun":%q}}}`, text)))
		}
		Expect(rerun(strings.Repeat("x", 1024))).To(Succeed())
		for _, long := range []string{strings.Repeat("x", 1025), strings.Repeat("\u00e9", 513)} {
			Expect(rerun(long)).To(MatchError(ContainSubstring("more than 1024 bytes; a time or a number will do")))
		}
	})
})

var _ = Describe("Durations and schedules", func() {
	const token = "url: https://vault\nauth: {token: {secretKeyRef: {name: t, key: k}}}\n"
	const write = "vaultConfigRef: {name: main}\noperation: Write\nsecretPath: x\ndata: {a: b}\n"
	const read = "vaultConfigRef: {name: main}\noperation: Read\nsecretPath: x\n"
	const metadata = "vaultConfigRef: {name: main}\noperation: WriteMetadata\nsecretPath: x\n"

	DescribeTable("are refused with the form that they have",
		func(kind, spec, message string) {
			err := cp.Client.Create(ctx, written(kind, "default", "form", spec), client.DryRunAll)
			Expect(err).To(MatchError(ContainSubstring(message)))
			Expect(err).NotTo(MatchError(ContainSubstring("evaluating rule")), "the language of rules is nobody's business")
		},
		Entry("days", "Connection", "type: t\nrefreshInterval: 1d",
			"write refreshInterval as numbers with the units h, m, s or ms, such as 90s, 5m or 1h30m; there is no unit for days: 24h"),
		Entry("a number alone", "Connection", "type: t\nrefreshInterval: '60'", "write refreshInterval as numbers with the units"),
		Entry("too short", "Connection", "type: t\nrefreshInterval: 4s", "refreshInterval must be at least 5s"),
		Entry("a time-out in words", "VaultConfig", token+"limits: {timeout: 10 seconds}", "write timeout as numbers with the units"),
		Entry("a time-out that is too long", "VaultConfig", token+"limits: {timeout: 2m}", "timeout must be from 1s to 60s"),
		Entry("a wrapping token's days", "VaultTask", read+"result: {wrap: {ttl: 1d}}", "write ttl as numbers with the units"),
		Entry("a wrapping token for more than a day", "VaultTask", read+"result: {wrap: {ttl: 25h}}", "ttl must be between 10s and 24h"),
		Entry("an age in days", "VaultTask", metadata+"metadata: {deleteVersionAfter: 30d}", "write deleteVersionAfter as numbers with the units"),
		Entry("an age below nothing", "VaultTask", metadata+"metadata: {deleteVersionAfter: '-1h'}", "write deleteVersionAfter as numbers with the units"),
		Entry("a schedule of seconds", "VaultTask", write+"schedule: {cron: '@every 10s'}",
			"a schedule runs once a minute at most; write @every with 1m or longer, in the units h, m and s: @every 90s"),
		Entry("a schedule just below a minute", "VaultTask", write+"schedule: {cron: '@every 59.999s'}", "a schedule runs once a minute at most"),
		Entry("a schedule in days", "VaultTask", write+"schedule: {cron: '@every 1d'}", "a schedule runs once a minute at most"),
		Entry("a schedule in words", "VaultTask", write+"schedule: {cron: tomorrow}",
			"write cron's five fields, minute hour day month weekday, such as 0 3 * * *; or @hourly, @daily, @weekly, @monthly, @yearly, or @every 90s"),
		Entry("a schedule with seconds", "VaultTask", write+"schedule: {cron: '0 0 3 * * *'}", "write cron's five fields"),
		Entry("a schedule at every start", "VaultTask", write+"schedule: {cron: '@reboot'}", "write cron's five fields"),
		Entry("a minute that no hour has", "VaultTask", write+"schedule: {cron: '60 3 * * *'}", "the first field of cron is the minute: write 0 to 59"),
		Entry("an hour that no day has", "VaultTask", write+"schedule: {cron: '0 0-24/2 * * *'}", "the second field of cron is the hour: write 0 to 23"),
		Entry("a day that no month has", "VaultTask", write+"schedule: {cron: '0 3 0 * *'}", "the third field of cron is the day of the month: write 1 to 31"),
		Entry("a month that no year has", "VaultTask", write+"schedule: {cron: '0 3 * 1,13 *'}", "the fourth field of cron is the month: write 1 to 12, or jan to dec"),
		Entry("Sunday by its other number", "VaultTask", write+"schedule: {cron: '0 3 * * 7'}",
			"the fifth field of cron is the day of the week: write 0 to 6 from Sunday on, or sun to sat"),
		Entry("a weekday written out", "VaultTask", write+"schedule: {cron: '0 3 * * monday'}", "the fifth field of cron is the day of the week"),
	)

	It("of cron are refused with one sentence each", func() {
		for _, cron := range []string{"tomorrow", "0 0 3 * * *", "@reboot", "60 3 * * *", "0 3 * * 7", "TZ=UTC 0 3 * * *"} {
			err := cp.Client.Create(ctx, written("VaultTask", "default", "form", write+"schedule: {cron: '"+cron+"'}"), client.DryRunAll)
			Expect(strings.Count(err.Error(), "spec.schedule.cron:")).To(Equal(1), "%v", err)
		}
	})

	It("are accepted in the forms that are told", func() {
		for _, interval := range []string{"5s", "90s", "5m", "1h30m", "1.5h", "30000ms"} {
			Expect(cp.Client.Create(ctx, written("Connection", "default", "form", "type: t\nrefreshInterval: "+interval), client.DryRunAll)).To(Succeed(), interval)
		}
		for _, cron := range []string{"@every 1m", "@every 90s", "@every 1h30m", "* * * * *", "@hourly", "@midnight", "*/5 0-23/2 1,15 jan-DEC mon-fri",
			" 0  3 ? * sun ", "007 3 1-31 1-12 0-6"} {
			Expect(cp.Client.Create(ctx, written("VaultTask", "default", "form", write+"schedule: {cron: '"+cron+"'}"), client.DryRunAll)).To(Succeed(), cron)
		}
		Expect(cp.Client.Create(ctx, written("VaultTask", "default", "form", metadata+"metadata: {deleteVersionAfter: 0s}"), client.DryRunAll)).To(Succeed())
	})

	It("are explained where people look", func() {
		for kind, fields := range map[string]map[string]string{
			"Connection": {
				"refreshInterval": "units h, m, s or ms",
				"vaultSecrets":    "its lease is renewed while the pod lives, and revoked when the pod is gone",
			},
			"VaultConfig": {"limits.timeout": "units m, s or ms"},
			"VaultTask": {
				"result.wrap.ttl": "units h, m or s", "metadata.deleteVersionAfter": "units h, m or s", "schedule.cron": "from a minute on",
			},
		} {
			for path, text := range fields {
				schema := schemaOf(kind, "spec")
				for name := range strings.SplitSeq(path, ".") {
					schema = schema.Properties[name]
				}
				Expect(strings.ReplaceAll(schema.Description, "\n", " ")).To(ContainSubstring(text), kind+" "+path)
			}
		}
	})
})

var _ = Describe("The address of a Vault", func() {
	create := func(kind, url string) error {
		const auth = ", auth: {token: {secretKeyRef: {name: t, key: k}}}}"
		spec := map[string]string{
			"VaultConfig": fmt.Sprintf("{url: %q"+auth, url),
			"VaultTask":   fmt.Sprintf("{operation: Read, enginePath: secret, secretPath: x, vault: {url: %q"+auth+"}", url),
		}[kind]
		return cp.Client.Create(ctx, written(kind, "default", "address", spec), client.DryRunAll)
	}

	DescribeTable("is refused, with the cure, if no controller could use it",
		func(url, message string) {
			for _, kind := range []string{"VaultConfig", "VaultTask"} {
				err := create(kind, url)
				Expect(err).To(MatchError(ContainSubstring(message)), kind)
				Expect(err).NotTo(MatchError(ContainSubstring("evaluating rule")), "the language of rules is nobody's business")
				Expect(strings.Count(err.Error(), "url:")).To(Equal(1), "one sentence is enough: %v", err)
			}
		},
		Entry("without a scheme", "vault.example.com:8200", "write url with its scheme and host, such as https://vault.example.com:8200"),
		Entry("with another scheme", "ftp://vault.example.com", "write url with its scheme and host"),
		Entry("of a file", "unix:///run/vault.sock", "write url with its scheme and host"),
		Entry("without a host", "https:///vault", "write url with its scheme and host"),
		Entry("with a port alone", "https://:8200", "url cannot be parsed: write one such as https://vault.example.com:8200"),
		Entry("with a port that is a word", "https://vault:port", "url cannot be parsed"),
		Entry("with a space", "https://vault ", "url cannot be parsed"),
		Entry("with a password", "https://me:pass@vault", "leave them out, auth says who logs in"),
		Entry("with a query", "https://vault?namespace=a", "leave out everything from the question mark or # on"),
		Entry("with a fragment", "https://vault#a", "leave out everything from the question mark or # on"),
		Entry("with the API's path", "https://vault/v1", "leave out everything from /v1 or /ui on"),
		Entry("with a secret's path", "https://gw/vault/v1/secret/data/db", "enginePath and secretPath say what is read"),
		Entry("of a page for people", "https://vault/ui/vault/secrets", "leave out everything from /v1 or /ui on"),
	)

	It("is accepted in every other form", func() {
		for _, kind := range []string{"VaultConfig", "VaultTask"} {
			for _, url := range []string{
				"https://vault", "http://127.0.0.1:8200", "HTTPS://Vault.Example.com:443/", "https://[::1]:8200", "https://v1", "https://ui/v1x/",
				"https://gateway.example.com/Team-A/vault_2/~x",
			} {
				Expect(create(kind, url)).To(Succeed(), kind+" "+url)
			}
		}
	})
})

var _ = Describe("The mode of a file", func() {
	create := func(mode string) error {
		spec := "type: t\nfiles: [{path: f, value: x, mode: " + mode + "}]"
		return cp.Client.Create(ctx, written("Connection", "default", "mode", spec), client.DryRunAll)
	}

	It("is accepted as an octal number of YAML, and as the decimal one that it is in JSON", func() {
		for _, mode := range []string{
			"0400", "0404", "0440", "0444", "0500", "0550", "0600", "0640", "0644", "0660", "0664", "0666", "0700", "0750", "0755", "0770", "0777",
			"256", "260", "288", "292", "320", "384", "416", "420", "432", "448", "488", "493", "504", "511",
		} {
			Expect(create(mode)).To(Succeed(), mode)
		}
	})

	DescribeTable("is refused where its digits were meant as octal ones", func(mode, meant string) {
		Expect(create(mode)).To(MatchError(ContainSubstring(
			"mode " + mode + " is decimal, and not the octal 0" + mode + ": write 0" + mode + " in YAML or " + meant + " in JSON")))
	},
		Entry(nil, "400", "256"), Entry(nil, "404", "260"), Entry(nil, "440", "288"), Entry(nil, "444", "292"),
		Entry(nil, "600", "384"), Entry(nil, "640", "416"), Entry(nil, "644", "420"), Entry(nil, "755", "493"), Entry(nil, "777", "511"),
	)

	It("is refused beyond its bounds", func() {
		for _, mode := range []string{"0", "0377", "0x400", "800", "688", "-1"} {
			Expect(create(mode)).To(MatchError(ContainSubstring("mode must be between 0400 and 0777 (256 and 511 in JSON")), mode)
		}
	})
})
