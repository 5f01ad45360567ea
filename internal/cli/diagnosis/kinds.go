package diagnosis

import (
	"context"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Kind is a kind that can be asked about.
type Kind struct {
	// Name is what sentences call it.
	Name string
	// names are those that kubectl takes: plural, singular and short.
	names  []string
	follow func(context.Context, *Inspection, client.ObjectKey) (*Step, error)
	// List is what lists them, for completion.
	List func() client.ObjectList
}

// Kinds are all of them.
var Kinds = []Kind{
	{"Pod", []string{"pods", "pod", "po"}, followPod, list[corev1.PodList]},
	{"Deployment", []string{"deployments", "deployment", "deploy"}, follow(deployment), list[appsv1.DeploymentList]},
	{"StatefulSet", []string{"statefulsets", "statefulset", "sts"}, follow(statefulSet), list[appsv1.StatefulSetList]},
	{"DaemonSet", []string{"daemonsets", "daemonset", "ds"}, follow(daemonSet), list[appsv1.DaemonSetList]},
	{"ReplicaSet", []string{"replicasets", "replicaset", "rs"}, follow(replicaSet), list[appsv1.ReplicaSetList]},
	{"Job", []string{"jobs", "job"}, follow(job), list[batchv1.JobList]},
	{"CronJob", []string{"cronjobs", "cronjob", "cj"}, follow(cronJob), list[batchv1.CronJobList]},
	{"Rollout", []string{"rollouts", "rollout", "ro"}, follow(rollout), rollouts},
	{"Connection", []string{"connections", "connection", "conn"}, followConnection, list[v1alpha1.ConnectionList]},
	{"VaultConfig", []string{"vaultconfigs", "vaultconfig", "vc"}, followVaultConfig, list[v1alpha1.VaultConfigList]},
	{"VaultTask", []string{"vaulttasks", "vaulttask", "vt"}, followVaultTask, list[v1alpha1.VaultTaskList]},
}

// KindOf finds a kind by a name that kubectl takes, with or without its group.
func KindOf(name string) (Kind, bool) {
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	for _, kind := range Kinds {
		if slices.Contains(kind.names, name) {
			return kind, true
		}
	}
	return Kind{}, false
}

// list makes an empty list.
func list[T any, P interface {
	*T
	client.ObjectList
}]() client.ObjectList {
	return P(new(T))
}
