// Package overview lists what there is of Sallyport in a cluster, and how it is: its objects, its own pods, and who
// mounts what. It only reads, with the user's own rights.
package overview

import (
	"cmp"
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/health"
)

// Row is one thing and how it is.
type Row struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	health.Health
	// Since is when that began.
	Since *metav1.Time `json:"since,omitempty"`
	// Detail is what else there is to say: versions, times.
	Detail string `json:"detail,omitempty"`
	// Each: one of many of its kind, of which only the sick ones are shown where space is short.
	Each bool `json:"-"`
}

// Sick tells whether something is wrong. What its owner switched off is as it should be, and of what may not be looked
// at nothing is known.
func (r *Row) Sick() bool {
	return r.State != health.Healthy && r.State != health.Suspended && r.State != health.Unknown
}

// Objects are all VaultConfigs, Connections and VaultTasks of a namespace, of all namespaces if it is empty, and
// Sallyport's own parts; the sick ones first.
func Objects(ctx context.Context, objects client.Reader, namespace string, now time.Time) ([]Row, error) {
	configs, connections, tasks := &v1alpha1.VaultConfigList{}, &v1alpha1.ConnectionList{}, &v1alpha1.VaultTaskList{}
	for _, list := range []client.ObjectList{configs, connections, tasks} {
		if err := objects.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
	}
	var rows []Row
	for n := range configs.Items {
		c := &configs.Items[n]
		rows = append(rows, row("VaultConfig", c, health.OfVaultConfig(c), c.Status.Conditions, configDetail(c, now)))
	}
	for n := range connections.Items {
		c := &connections.Items[n]
		rows = append(rows, row("Connection", c, health.OfConnection(c), c.Status.Conditions, connectionDetail(c)))
	}
	for n := range tasks.Items {
		t := &tasks.Items[n]
		rows = append(rows, row("VaultTask", t, health.OfVaultTask(t), t.Status.Conditions, taskDetail(t, now)))
	}
	parts, err := parts(ctx, objects)
	if err != nil {
		return nil, err
	}
	rows = append(rows, parts...)
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(health.Compare(a.State, b.State), cmp.Compare(order[a.Kind], order[b.Kind]),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return rows, nil
}

// order is that of the kinds: what others depend on comes first.
var order = map[string]int{
	"Controller": 0, "NodePlugin": 1, "Pod": 2, "VaultConfig": 3, "Connection": 4, "VaultTask": 5,
}

func row(kind string, object client.Object, is health.Health, conditions []metav1.Condition, detail string) Row {
	r := Row{Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName(), Health: is, Detail: detail}
	for n := range conditions {
		c := &conditions[n]
		if c.Reason == is.Reason && c.Message == is.Message && (r.Since == nil || r.Since.Before(&c.LastTransitionTime)) {
			r.Since = c.LastTransitionTime.DeepCopy()
		}
	}
	return r
}

func configDetail(c *v1alpha1.VaultConfig, now time.Time) string {
	detail := ""
	if c.Status.Vault != nil && c.Status.Vault.Version != "" {
		detail = "Vault " + c.Status.Vault.Version
	}
	if token := c.Status.Token; token != nil && token.ExpireTime != nil {
		detail = join(detail, "token expires in "+duration.HumanDuration(token.ExpireTime.Sub(now)))
	}
	for _, condition := range []*metav1.Condition{
		health.Condition(c.Status.Conditions, v1alpha1.ConditionRenewing, metav1.ConditionTrue),
		health.Condition(c.Status.Conditions, v1alpha1.ConditionCredentialLimited, metav1.ConditionFalse),
	} {
		if condition != nil && condition.Status != metav1.ConditionUnknown {
			detail = join(detail, condition.Reason)
		}
	}
	return detail
}

func connectionDetail(c *v1alpha1.Connection) string {
	if c.Status.Mounts == nil || c.Status.Mounts.Volumes == nil {
		return "not mounted"
	}
	return health.Count(int(*c.Status.Mounts.Volumes), "volume")
}

func taskDetail(t *v1alpha1.VaultTask, now time.Time) string {
	detail := string(t.Spec.Operation)
	if at := t.Status.CompletionTime; at != nil {
		detail = join(detail, "ended "+duration.HumanDuration(now.Sub(at.Time))+" ago")
	}
	if at := t.Status.NextScheduleTime; at != nil {
		detail = join(detail, "next in "+duration.HumanDuration(at.Sub(now)))
	}
	return detail
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + ", " + b
}
