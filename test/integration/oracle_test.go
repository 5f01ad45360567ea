package integration

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// Whoever may write Connections, but run no pod, could otherwise read a secret from status, character by character.
var _ = Describe("What the check of a Connection says", func() {
	It("does not depend on a value, whatever its templates, formats and references do", func() {
		// Different in every way that the files of the table ask for: type, length, first character, alphabet, members.
		said, series := map[string][]string{}, [][]string{}
		for which, data := range map[string]map[string]any{
			"one": {
				"password": canary(), "size": strings.Repeat("x", 100), "type": "test", "number": 7, "json": `{"a":1}`,
				"base64": "AAAA", "object": map[string]any{"a": 1}, "nothing": nil, "large": "x",
			},
			"two": {
				"password": "zz\x00\n" + canary() + `\"`, "size": "x", "type": "other", "number": "seven", "json": "{",
				"base64": "-", "object": "text", "nothing": "something", "large": strings.Repeat("y", 900_000),
			},
		} {
			namespace := newNamespace()
			readyConfig(namespace)
			vault.PutKV("secret/data/"+namespace+"/db", data)
			for i, spec := range oracles() {
				c := builder.Connection(namespace, fmt.Sprintf("c%02d", i), nil, builder.WithSecret(namespace+"/db"))
				c.Spec.Type, c.Spec.Value, c.Spec.Files = "test", builder.JSON(spec.value), spec.files
				create(c)
			}
			said[which] = everythingSaid(namespace, len(oracles()))
			series = append(series, metricSeries())
		}
		Expect(said["one"]).To(Equal(said["two"]))
		Expect(series[1]).To(Equal(series[0]), "no metric has a label that the first secret did not bring about")
		Expect(series[0]).To(ContainElement(`controller_runtime_reconcile_total{controller="connection",result="error"}`))
		Expect(said["one"]).To(ContainElement(ContainSubstring(v1alpha1.ReasonInvalidTemplate)), "what is wrong for every value is said")
	})
})

// ofOthers are the beginnings of metrics that no check of a Connection brings about alone.
var ofOthers = []string{"sallyport_vault_request", "sallyport_resolver_", "sallyport_leases_"}

// metricSeries are the metrics of Sallyport and of the Connections' controller, by name and labels. How often something happened depends on how often a
// check was tried again, and on what other specs left; what happened does not. Left out are series of single objects,
// which tell what status says, and what no check brings about, but what other specs left: requests to Vault, of nodes and
// for leases.
func metricSeries() (series []string) {
	GinkgoHelper()
	families, err := metrics.Registry.Gather()
	Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if metric.GetCounter() != nil && metric.GetCounter().GetValue() == 0 {
				continue // made in advance
			}
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", label.GetName(), label.GetValue()))
			}
			if slices.ContainsFunc(labels, func(label string) bool { return strings.HasPrefix(label, "namespace=") }) ||
				slices.ContainsFunc(ofOthers, func(prefix string) bool { return strings.HasPrefix(family.GetName(), prefix) }) {
				continue
			}
			if text := strings.Join(labels, ","); strings.HasPrefix(family.GetName(), "sallyport_") ||
				strings.Contains(text, `controller="connection"`) {
				series = append(series, family.GetName()+"{"+text+"}")
			}
		}
	}
	return series
}

type oracle struct {
	value map[string]any
	files []v1alpha1.ConnectionFile
}

// oracles are Connections whose files can be made from some values only, or fail in another place for each.
func oracles() []oracle {
	value := map[string]any{
		"p": "vault.secret(password)", "s": "vault.secret(size)", "n": "vault.secret(number)", "j": "vault.secret(json)",
		"b": "vault.secret(base64)", "o": "vault.secret(object)", "z": "vault.secret(nothing)", "l": "vault.secret(large)",
		"c": "x vault.secret(password) y",
	}
	var all []oracle
	for _, template := range []string{
		"{{ if hasPrefix \"c\" .p }}{{ .nope }}{{ end }}", "{{ if lt .p \"m\" }}\n{{ .nope }}{{ else }}\n\n{{ .nope }}{{ end }}",
		"{{ range len .s }}\n{{ end }}{{ .nope }}", "{{ int .n }}", "{{ add .n 1 }}", "{{ fromJson .j }}", "{{ (fromJson .j).a }}",
		"{{ b64dec .b }}", "{{ .o.a }}", "{{ index .o \"a\" }}", "{{ keys .o }}", "{{ range .z }}{{ end }}",
		"{{ if .z }}{{ .nope }}{{ end }}", "{{ with .z }}{{ .nope }}{{ end }}", "{{ sqlQuote .p }}", "{{ shellQuote .p }}", "{{ xmlEscape .p }}",
		"{{ .l }}{{ .l }}", "{{ range 9999 }}{{ $x := upper $.l }}{{ end }}", "{{ date \"2006\" .n }}", "{{ join \",\" .o }}",
		"{{ indent .n .p }}", "{{ and (eq .s \"x\") .nope }}", "{{ or (eq .s \"x\") .nope }}", "{{ index .p 3 }}", "{{ hasKey .o .s }}",
		"{{ range $i, $c := splitList \"\" .p }}{{ if eq $c \"z\" }}{{ $.nope }}{{ end }}{{ end }}", "{{ printf .p }}", "{{ lt .n 8 }}",
		"{{ $x := .p }}{{ range 26 }}{{ if contains $x \"z\" }}{{ break }}{{ end }}\n{{ end }}{{ .nope }}", "{{ .p }}{{ .nope }}",
	} {
		all = append(all, oracle{value, []v1alpha1.ConnectionFile{{Path: "f", Template: template}}})
	}
	for _, format := range []v1alpha1.FileFormat{"JSON", "YAML", "Env", "DockerEnv", "Properties"} {
		all = append(all, oracle{value, []v1alpha1.ConnectionFile{{Path: "f", Format: format}}})
	}
	for _, template := range []string{
		`{"p": "{{ .p }}"}`, `{"p": {{ .n }}}`, `{{ .j }}`, "{\n{{ .p }}x", `{{ if eq .s "x" }}{{ else }}x{{ end }}`, `{"p": {{ toJson .o }}}`,
	} {
		all = append(all, oracle{value, []v1alpha1.ConnectionFile{{Path: "f", Format: v1alpha1.FileFormatJSON, Template: template}}})
	}
	many := map[string]any{}
	for i := range 200 {
		many[fmt.Sprint("k", i)] = "vault.secret(large)"
	}
	return append(all,
		oracle{value, []v1alpha1.ConnectionFile{{Path: "f", Value: "vault.secret(base64)", Encoding: v1alpha1.FileEncodingBase64}}},
		oracle{value, []v1alpha1.ConnectionFile{{Path: "f", Template: "{{ .b }}", Encoding: v1alpha1.FileEncodingBase64}}},
		oracle{map[string]any{"type": "vault.secret(type)"}, nil},
		oracle{map[string]any{"a": "vault.secret(large)vault.secret(large)"}, nil},
		oracle{many, nil},
	)
}

// everythingSaid returns status, events and log lines of a namespace's Connections once all were looked at, without
// times, names and counts that are of the test's own.
func everythingSaid(namespace string, count int) (said []string) {
	GinkgoHelper()
	own := regexp.MustCompile(namespace + `|\d{4}-\d\d-\d\dT[\d:.]+\S*|"createdTime":"[^"]*"`)
	Eventually(func(g Gomega) {
		said = nil
		list, events := &v1alpha1.ConnectionList{}, &eventsv1.EventList{}
		g.Expect(cp.Client.List(ctx, list, client.InNamespace(namespace))).To(Succeed())
		g.Expect(list.Items).To(HaveLen(count))
		g.Expect(cp.Client.List(ctx, events, client.InNamespace(namespace))).To(Succeed())
		told := map[string]string{}
		for _, e := range events.Items {
			if e.Regarding.Kind == "Connection" {
				told[e.Regarding.Name] += e.Type + " " + e.Reason + " " + e.Note + "\n"
			}
		}
		for _, c := range list.Items {
			ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
			g.Expect(ready).NotTo(BeNil(), c.Name)
			g.Expect(told).To(HaveKey(c.Name))
			status, err := json.Marshal(c.Status)
			g.Expect(err).NotTo(HaveOccurred())
			said = append(said, own.ReplaceAllString(c.Name+" "+string(status)+" "+told[c.Name], "…"))
		}
	}).Should(Succeed())
	var lines []string
	for line := range strings.SplitSeq(logs.String(), "\n") {
		if strings.Contains(line, namespace) && strings.Contains(line, "Reconciler error") {
			_, line, _ = strings.Cut(own.ReplaceAllString(line, "…"), "Reconciler error")
			lines = append(lines, regexp.MustCompile(`"reconcileID": "[^"]*"`).ReplaceAllString(line, ""))
		}
	}
	slices.Sort(lines)
	return append(said, slices.Compact(lines)...)
}
