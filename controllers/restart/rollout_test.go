package restart

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

func rolloutObject(spec, status map[string]any) *unstructured.Unstructured {
	object, _ := rolloutKind().new().(*unstructured.Unstructured)
	object.SetNamespace("shop")
	object.SetName("app")
	object.Object["spec"], object.Object["status"] = spec, status
	return object
}

func templateObject() map[string]any {
	return map[string]any{"spec": map[string]any{"volumes": []any{map[string]any{"name": "db", "csi": map[string]any{
		"driver": "csi.sallyport.dev", "volumeAttributes": map[string]any{"connection": "db"},
	}}}}}
}

func TestARolloutMountsWhatItsPodsMount(t *testing.T) {
	h := newHouse(t, deployment(nil))
	ref := func(apiVersion, kind, name string) map[string]any {
		return map[string]any{"workloadRef": map[string]any{"apiVersion": apiVersion, "kind": kind, "name": name}}
	}
	for name, row := range map[string]struct {
		spec  map[string]any
		wants []string
	}{
		"its own template":                  {map[string]any{"template": templateObject()}, []string{"db"}},
		"that of a Deployment":              {ref("apps/v1", "Deployment", "app"), []string{"db"}},
		"that of one that is not there":     {ref("apps/v1", "Deployment", "other"), nil},
		"that of a kind that is not read":   {ref("v1", "PodTemplate", "app"), nil},
		"nothing that can be understood":    {map[string]any{"template": map[string]any{"spec": map[string]any{"volumes": "none"}}}, nil},
		"no template":                       {map[string]any{}, nil},
		"a template of which nothing is so": {map[string]any{"template": "x"}, nil},
	} {
		template, err := rolloutKind().template(h.ctx, h.client, rolloutObject(row.spec, nil))
		h.Expect(err).NotTo(HaveOccurred(), name)
		h.Expect(mounted(template)).To(Equal(row.wants), name)
	}
}

func TestARolloutIsRestartedByItsTime(t *testing.T) {
	g := NewWithT(t)
	object := rolloutObject(map[string]any{"template": templateObject()}, nil)
	rolloutKind().roll(object, time.Unix(1_800_000_000, 0), "db=2.x")
	g.Expect(object.Object["spec"]).To(Equal(map[string]any{"template": templateObject(), "restartAt": "2027-01-15T08:00:00Z"}))
	broken := rolloutObject(nil, nil)
	broken.Object["spec"] = "none"
	rolloutKind().roll(broken, time.Unix(0, 0), "db=2.x")
	g.Expect(broken.Object["spec"]).To(Equal("none"))
}

type watches struct {
	controller.Controller
	count int
}

func (w *watches) Watch(source.TypedSource[reconcile.Request]) error {
	w.count++
	return nil
}

type informers struct {
	cache.Cache
	removed int
}

func (i *informers) RemoveInformer(context.Context, client.Object) error {
	i.removed++
	return nil
}

func TestAnOptionalKindIsWatchedWhileItIsServed(t *testing.T) {
	g := NewWithT(t)
	var answer atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.Expect(r.URL.Path).To(Equal("/apis/argoproj.io/v1alpha1"))
		body, _ := answer.Load().(string)
		w.Header().Set("Content-Type", "application/json")
		switch body {
		case "":
			w.WriteHeader(http.StatusNotFound)
		case "down":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = w.Write([]byte(`{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"argoproj.io/v1alpha1","resources":[` + body + `]}`))
		}
	}))
	defer server.Close()
	asked, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: server.URL})
	g.Expect(err).NotTo(HaveOccurred())
	c, i := &watches{}, &informers{}
	watch := &optionalWatch{reconciler: &Reconciler{kind: rolloutKind()}, controller: c, cache: i, server: asked.RESTClient()}
	const application, rollouts = `{"name":"applications","kind":"Application"}`, `{"name":"rollouts","kind":"Rollout"}`
	for _, step := range []struct {
		answer           string
		watched, removed int
	}{
		{"", 0, 0}, {application, 0, 0}, {"down", 0, 0},
		{application + "," + rollouts, 1, 0}, {rollouts, 1, 0}, {"down", 1, 0},
		{application, 1, 1}, {"", 1, 1}, {rollouts, 2, 1},
	} {
		answer.Store(step.answer)
		watch.look(t.Context())
		g.Expect([]int{c.count, i.removed}).To(Equal([]int{step.watched, step.removed}), step.answer)
	}
}
