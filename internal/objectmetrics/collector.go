// Package objectmetrics tells Prometheus the state of Sallyport's objects. It is read from the informers' cache when
// somebody asks, so that it costs nothing at rest, cannot drift from what there is, and has no series of what is gone.
package objectmetrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

const (
	// maxObjects and maxObjectsOfNamespace bound the objects that have series of their own, of each kind. At five series
	// an object and a kilobyte each, one scrape makes 15 MB of garbage at most.
	maxObjects            = 1000
	maxObjectsOfNamespace = 200
	// listTimeout bounds the wait for informers that have not begun to serve.
	listTimeout = 5 * time.Second
)

var (
	objectLabels = []string{"kind", "namespace", "name"}

	condition = prometheus.NewDesc("sallyport_object_condition",
		"1 for each condition of each object, with its status and reason.", append(objectLabels, "type", "status", "reason"), nil)
	objects = prometheus.NewDesc("sallyport_objects",
		"Objects of a kind, by state.", []string{"kind", "state"}, nil)
	omitted = prometheus.NewDesc("sallyport_omitted_objects",
		"Objects of a kind that have no series of their own, because there are too many.", []string{"kind"}, nil)
	tokenExpiry = prometheus.NewDesc("sallyport_vaultconfig_token_expiry_timestamp_seconds",
		"When the token of a VaultConfig dies if it is not renewed or replaced.", objectLabels[1:], nil)
	volumes = prometheus.NewDesc("sallyport_connection_volumes",
		"Volumes that mount a Connection.", objectLabels[1:], nil)
	behind = prometheus.NewDesc("sallyport_connection_versions_behind",
		"Versions of a secret between the one in Vault and the oldest that a volume of the Connection holds, "+
			"of the secret that is furthest behind.", objectLabels[1:], nil)
)

// Collector is a prometheus.Collector.
type Collector struct {
	objects client.Reader
	leading func() bool
}

// NewCollector returns a Collector that lists what objects has, and only while leading: of several replicas one tells.
func NewCollector(objects client.Reader, leading func() bool) *Collector {
	return &Collector{objects, leading}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{condition, objects, omitted, tokenExpiry, volumes, behind} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(collected chan<- prometheus.Metric) {
	if !c.leading() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), listTimeout)
	defer cancel()
	// Nothing of a list is kept or changed here.
	shared := client.UnsafeDisableDeepCopy
	var configs v1alpha1.VaultConfigList
	if c.objects.List(ctx, &configs, shared) == nil {
		states := make([]state, 0, len(configs.Items))
		for i := range configs.Items {
			config := &configs.Items[i]
			states = append(states, newState(config, config.Status.Conditions, func(gauge gauge) { tellConfig(config, gauge) }))
		}
		collect("VaultConfig", states, collected)
	}
	var connections v1alpha1.ConnectionList
	if c.objects.List(ctx, &connections, shared) == nil {
		states := make([]state, 0, len(connections.Items))
		for i := range connections.Items {
			connection := &connections.Items[i]
			states = append(states,
				newState(connection, connection.Status.Conditions, func(gauge gauge) { tellConnection(connection, gauge) }))
		}
		collect("Connection", states, collected)
	}
	var tasks v1alpha1.VaultTaskList
	if c.objects.List(ctx, &tasks, shared) == nil {
		states := make([]state, 0, len(tasks.Items))
		for i := range tasks.Items {
			task := &tasks.Items[i]
			states = append(states, newState(task, task.Status.Conditions, func(gauge) {}))
		}
		collect("VaultTask", states, collected)
	}
}

// gauge is one series of an object.
type gauge func(desc *prometheus.Desc, value float64)

func collect(kind string, states []state, collected chan<- prometheus.Metric) {
	shown := shown(states)
	for _, s := range shown {
		for _, c := range s.conditions {
			if tells(kind, c.Type) {
				send(collected, condition, 1, kind, s.namespace, s.name, c.Type, string(c.Status), c.Reason)
			}
		}
		s.tell(func(desc *prometheus.Desc, value float64) { send(collected, desc, value, s.namespace, s.name) })
	}
	counts := map[string]int{stateReady: 0, stateNotReady: 0, stateSuspended: 0, stateUnknown: 0}
	for _, s := range states {
		counts[s.summary()]++
	}
	for name, count := range counts {
		send(collected, objects, float64(count), kind, name)
	}
	send(collected, omitted, float64(len(states)-len(shown)), kind)
}

// send leaves out what Prometheus does not take, a reason that is no UTF-8 for example: one object must not take all
// metrics away.
func send(collected chan<- prometheus.Metric, desc *prometheus.Desc, value float64, labels ...string) {
	if metric, err := prometheus.NewConstMetric(desc, prometheus.GaugeValue, value, labels...); err == nil {
		collected <- metric
	}
}

func tellConfig(config *v1alpha1.VaultConfig, gauge gauge) {
	if token := config.Status.Token; token != nil && token.ExpireTime != nil {
		gauge(tokenExpiry, float64(token.ExpireTime.Unix()))
	}
}

func tellConnection(connection *v1alpha1.Connection, gauge gauge) {
	mounts := connection.Status.Mounts
	if mounts == nil || mounts.Volumes == nil {
		return
	}
	gauge(volumes, float64(*mounts.Volumes))
	gauge(behind, float64(versionsBehind(connection)))
}

// versionsBehind compares what volumes hold with what the Connection was last resolved from. A secret that two
// VaultConfigs read has two versions; which of them a volume holds is not told, so that the older counts.
func versionsBehind(connection *v1alpha1.Connection) int64 {
	current := map[string]int64{}
	for _, secret := range connection.Status.Secrets {
		if known, found := current[secret.Path]; !found || secret.Version < known {
			current[secret.Path] = secret.Version
		}
	}
	furthest := int64(0)
	for _, served := range connection.Status.Mounts.Secrets {
		furthest = max(furthest, current[served.Path]-served.OldestVersion)
	}
	return furthest
}

// tells are the conditions that Sallyport writes: whoever may write status could add others.
func tells(kind, conditionType string) bool {
	switch conditionType {
	case v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionSuspended:
		return true
	case v1alpha1.ConditionReachable, v1alpha1.ConditionAuthenticated, v1alpha1.ConditionRenewing,
		v1alpha1.ConditionCredentialLimited:
		return kind == "VaultConfig"
	case v1alpha1.ConditionComplete, v1alpha1.ConditionFailed:
		return kind == "VaultTask"
	}
	return false
}

// state is what of an object becomes series.
type state struct {
	namespace, name string
	conditions      []metav1.Condition
	tell            func(gauge)
}

func newState(object client.Object, conditions []metav1.Condition, tell func(gauge)) state {
	return state{namespace: object.GetNamespace(), name: object.GetName(), conditions: conditions, tell: tell}
}

// RegisterMetrics adds a Collector to a registry. A registry that has one already is left as it is, as when one process
// runs several replicas.
func RegisterMetrics(registry prometheus.Registerer, objects client.Reader, leading func() bool) error {
	err := registry.Register(NewCollector(objects, leading))
	if errors.As(err, &prometheus.AlreadyRegisteredError{}) {
		return nil
	}
	return err
}
