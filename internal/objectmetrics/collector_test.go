package objectmetrics

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

func cluster(t *testing.T, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
}

// scraped returns the series, as Prometheus gets them.
func scraped(t *testing.T, objects client.Reader, leading bool) []string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(objects, func() bool { return leading }))
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	NewWithT(t).Expect(answer.Code).To(Equal(200), answer.Body.String())
	var found []string
	for line := range strings.Lines(answer.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func conditions(of ...metav1.Condition) []metav1.Condition { return of }

func is(conditionType string, status metav1.ConditionStatus, reason string) metav1.Condition {
	return metav1.Condition{Type: conditionType, Status: status, Reason: reason, Message: "secret/data/oracle"}
}

func config(namespace, name string, of ...metav1.Condition) *v1alpha1.VaultConfig {
	return builder.VaultConfig(namespace, name, func(c *v1alpha1.VaultConfig) { c.Status.Conditions = of })
}

func TestTheStateOfEachObject(t *testing.T) {
	g := NewWithT(t)
	expiry := metav1.NewTime(time.Unix(1_800_000_000, 0))
	vault := config("shop", "prod", is("Ready", "False", "AuthFailed"), is("Reachable", "True", "Succeeded"))
	vault.Status.Token = &v1alpha1.TokenStatus{ExpireTime: &expiry}
	connection := builder.Connection("shop", "oracle", nil, func(c *v1alpha1.Connection) {
		c.Status.Conditions = conditions(is("Ready", "True", "Succeeded"))
		c.Status.Secrets = []v1alpha1.ObservedSecret{
			{Path: "secret/data/a", Version: 7}, {Path: "secret/data/b", Version: 3}, {Path: "secret/data/b", Version: 4},
		}
		c.Status.Mounts = &v1alpha1.ConnectionMounts{Volumes: ptr.To[int32](2), Secrets: []v1alpha1.ServedSecret{
			{Path: "secret/data/a", OldestVersion: 5, NewestVersion: 7}, {Path: "secret/data/b", OldestVersion: 3},
			{Path: "secret/data/newer", OldestVersion: 9},
		}}
	})
	task := builder.VaultTask("shop", "rotate", v1alpha1.OperationRead, "secret/a", func(task *v1alpha1.VaultTask) {
		task.Status.Conditions = conditions(is("Suspended", "True", "Suspended"))
	})
	all := scraped(t, cluster(t, vault, connection, task, config("shop", "new")), true)
	g.Expect(all).To(ConsistOf(
		`sallyport_object_condition{kind="VaultConfig",name="prod",namespace="shop",reason="AuthFailed",status="False",type="Ready"} 1`,
		`sallyport_object_condition{kind="VaultConfig",name="prod",namespace="shop",reason="Succeeded",status="True",type="Reachable"} 1`,
		`sallyport_object_condition{kind="Connection",name="oracle",namespace="shop",reason="Succeeded",status="True",type="Ready"} 1`,
		`sallyport_object_condition{kind="VaultTask",name="rotate",namespace="shop",reason="Suspended",status="True",type="Suspended"} 1`,
		`sallyport_vaultconfig_token_expiry_timestamp_seconds{name="prod",namespace="shop"} 1.8e+09`,
		`sallyport_connection_volumes{name="oracle",namespace="shop"} 2`,
		`sallyport_connection_versions_behind{name="oracle",namespace="shop"} 2`,
		`sallyport_objects{kind="VaultConfig",state="not_ready"} 1`, `sallyport_objects{kind="VaultConfig",state="ready"} 0`,
		`sallyport_objects{kind="VaultConfig",state="suspended"} 0`, `sallyport_objects{kind="VaultConfig",state="unknown"} 1`,
		`sallyport_objects{kind="Connection",state="not_ready"} 0`, `sallyport_objects{kind="Connection",state="ready"} 1`,
		`sallyport_objects{kind="Connection",state="suspended"} 0`, `sallyport_objects{kind="Connection",state="unknown"} 0`,
		`sallyport_objects{kind="VaultTask",state="not_ready"} 0`, `sallyport_objects{kind="VaultTask",state="ready"} 0`,
		`sallyport_objects{kind="VaultTask",state="suspended"} 1`, `sallyport_objects{kind="VaultTask",state="unknown"} 0`,
		`sallyport_omitted_objects{kind="VaultConfig"} 0`, `sallyport_omitted_objects{kind="Connection"} 0`,
		`sallyport_omitted_objects{kind="VaultTask"} 0`,
	))
	g.Expect(strings.Join(all, "\n")).NotTo(ContainSubstring("secret/data"), "neither messages nor paths")
}

func TestOneOfSeveralReplicasTells(t *testing.T) {
	NewWithT(t).Expect(scraped(t, cluster(t, config("shop", "prod")), false)).To(BeEmpty())
}

func TestWhatIsGoneHasNoSeries(t *testing.T) {
	g := NewWithT(t)
	vault := config("shop", "prod", is("Ready", "True", "Succeeded"))
	objects := cluster(t, vault)
	g.Expect(scraped(t, objects, true)).To(ContainElement(ContainSubstring(`name="prod"`)))
	g.Expect(objects.Delete(t.Context(), vault)).To(Succeed())
	g.Expect(scraped(t, objects, true)).NotTo(ContainElement(ContainSubstring(`name="prod"`)))
}

// TestOneObjectCannotTakeTheMetricsAway: whoever may write status can write anything into it.
func TestOneObjectCannotTakeTheMetricsAway(t *testing.T) {
	g := NewWithT(t)
	all := scraped(t, cluster(t, config("hostile", "a", is("Ready", "False", "\xff"), is("Invented", "True", "X")),
		config("shop", "prod", is("Ready", "True", "Succeeded"))), true)
	g.Expect(all).To(ContainElement(ContainSubstring(`name="prod"`)))
	g.Expect(all).NotTo(ContainElement(ContainSubstring("Invented")))
}

func TestNamespacesShareTheSeries(t *testing.T) {
	g := NewWithT(t)
	var states []state
	add := func(namespace string, number int, of ...metav1.Condition) {
		for i := range number {
			states = append(states, newState(config(namespace, fmt.Sprintf("%05d", i)), of, nil))
		}
	}
	count := func(namespace string) (number int) {
		for _, s := range shown(states) {
			if s.namespace == namespace {
				number++
			}
		}
		return number
	}
	add("hostile", 10*maxObjects, is("Ready", "False", "AuthFailed"))
	g.Expect(count("hostile")).To(Equal(maxObjectsOfNamespace))
	add("shop", 150)
	for i := range 20 {
		add(fmt.Sprint("hostile-", i), maxObjects)
	}
	for i := range 20 {
		add(fmt.Sprint("small-", i), 10)
	}
	g.Expect(shown(states)).To(HaveLen(maxObjects))
	for i := range 20 {
		g.Expect(count(fmt.Sprint("small-", i))).To(Equal(10), "what has few has all of them")
	}
	g.Expect(count("shop")).To(BeNumerically("~", count("hostile"), 1))
	g.Expect(count("shop")).To(BeNumerically(">", 30))
}

func TestTheSickComeFirst(t *testing.T) {
	g := NewWithT(t)
	var states []state
	for i := range maxObjectsOfNamespace {
		states = append(states, newState(config("shop", fmt.Sprint("a", i)), conditions(is("Ready", "True", "Succeeded")), nil))
	}
	states = append(states, newState(config("shop", "sick"), conditions(is("Ready", "False", "AuthFailed")), nil))
	kept := shown(states)
	g.Expect(kept).To(HaveLen(maxObjectsOfNamespace))
	g.Expect(kept[0].name).To(Equal("sick"))
}
