package resolver

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/test/builder"
)

// withParameters is the plan of a Connection that writes them.
func withParameters(t *testing.T, parameters string, labels ...string) *plan {
	t.Helper()
	secret := builder.VaultSecret("tls", "issue/web")
	secret.Method, secret.PodLabels = v1alpha1.SecretMethodPost, labels
	secret.Parameters = &apiextensionsv1.JSON{Raw: []byte(parameters)}
	p, value := looked(NewWithT(t), map[string]any{"a": `vault.secret(tls.a, "")`}, nil, secret)
	NewWithT(t).Expect(value.Keys()).To(HaveLen(1))
	return p
}

var mountingPod = &Pod{
	Namespace: "shop", Name: "web-1", ServiceAccount: "web",
	Labels: func() (map[string]string, error) {
		return map[string]string{"app": "web", "app.kubernetes.io/name": "shop", "secret": "not listed"}, nil
	},
}

func TestParametersNameThePodThatMounts(t *testing.T) {
	g := NewWithT(t)
	p := withParameters(t, `{"common_name": "{{ .pod.name }}.{{ .pod.namespace }}.db", "ttl": 24, "literal": "a {b}", "none": null,
		"deep": {"names": ["{{ .pod.serviceAccount }}", "{{ .pod.labels.app }}-{{ index .pod.labels \"app.kubernetes.io/name\" | upper }}"]}}`,
		"app", "app.kubernetes.io/name")
	g.Expect(p.forPod(t.Context(), nil)).To(Succeed(), "a check has no pod")
	p = withParameters(t, `{"common_name": "{{ .pod.name }}.{{ .pod.namespace }}.db", "ttl": 24, "literal": "a {b}", "none": null,
		"deep": {"names": ["{{ .pod.serviceAccount }}", "{{ .pod.labels.app }}-{{ index .pod.labels \"app.kubernetes.io/name\" | upper }}"]}}`,
		"app", "app.kubernetes.io/name")
	g.Expect(p.forPod(t.Context(), mountingPod)).To(Succeed())
	g.Expect(p.sources[0].location.Parameters).To(Equal(map[string]any{
		"common_name": "web-1.shop.db", "ttl": 24.0, "literal": "a {b}", "none": nil, "deep": map[string]any{"names": []any{"web", "web-SHOP"}},
	}))
}

func TestParametersThatNameWhatIsNotThereSaySo(t *testing.T) {
	for name, row := range map[string]struct {
		parameters string
		labels     []string
		checked    bool // already without a pod
		sentence   string
	}{
		"a label that the pod lacks": {`{"a": "{{ .pod.labels.team }}"}`, []string{"team"}, false,
			`parameters of tls: pod shop/web-1 lacks the label "team", which podLabels lists; give it to the pod, or take it off the list`},
		"a label that is not listed": {`{"a": "{{ .pod.labels.secret }}"}`, []string{"app"}, true,
			`parameters of tls: "a": line 1: .pod.labels.secret: there is no such key; hasKey tells whether there is one`},
		"another field":         {`{"a": {"b": ["{{ .pod.uid }}"]}}`, nil, true, `parameters of tls: "a": "b": [0]: line 1: .pod.uid: there is no such key; hasKey tells whether there is one`},
		"something else":        {`{"a": "{{ .value }}"}`, nil, true, `parameters of tls: "a": line 1: .value: there is no such key; hasKey tells whether there is one`},
		"a template that isn't": {`{"a": "{{ .pod.name"}`, nil, true, `parameters of tls: "a": line 1: unclosed action`},
		"a loop without end":    {`{"a": "{{ range 99999999 }}x{{ end }}"}`, nil, true, `parameters of tls: "a": line 1: the templates of this Connection do too much work; loop over less`},
		"more than there is":    {`{"a": "` + strings.Repeat("{{ .pod.name }}", 30_000) + `"}`, nil, true, `parameters of tls: "a": line 1: the templates of this Connection do too much work`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := withParameters(t, row.parameters, row.labels...).forPod(t.Context(), mountingPod)
			g.Expect(err).To(MatchError(HavePrefix(row.sentence)))
			g.Expect(fault.Is(err, v1alpha1.ReasonInvalidTemplate)).To(BeTrue())
			if err = withParameters(t, row.parameters, row.labels...).forPod(t.Context(), nil); row.checked {
				g.Expect(err).To(MatchError(HavePrefix(row.sentence)))
			} else {
				g.Expect(err).NotTo(HaveOccurred())
			}
		})
	}
}

func FuzzParameters(f *testing.F) {
	for _, seed := range []string{"{{ .pod.name }}", "{{ .pod }}", "{{ range .pod.labels }}{{ . }}{{ end }}", "{{", "{{ toJson . }}", "a{{/**/}}b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := &source{label: "s", podLabels: []string{"app"}}
		s.location.Write, s.location.Parameters = true, map[string]any{"a": text}
		p := &plan{sources: []*source{s}}
		if err := p.forPod(t.Context(), mountingPod); err != nil {
			if !fault.Is(err, v1alpha1.ReasonInvalidTemplate) && !fault.Is(err, v1alpha1.ReasonTooLarge) || strings.Contains(err.Error(), "\n") {
				t.Fatal(err)
			}
			return
		}
		if rendered, _ := s.location.Parameters["a"].(string); strings.Contains(rendered, "not listed") {
			t.Fatalf("a label that is not listed got into %q", rendered)
		}
	})
}
