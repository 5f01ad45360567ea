package diagnosis

import (
	"context"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
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
	{"Pod", []string{"pods", "pod", "po"}, followPod, func() client.ObjectList { return &corev1.PodList{} }},
	{"Deployment", []string{"deployments", "deployment", "deploy"}, follow(deployment), func() client.ObjectList { return &appsv1.DeploymentList{} }},
	{"StatefulSet", []string{"statefulsets", "statefulset", "sts"}, follow(statefulSet), func() client.ObjectList { return &appsv1.StatefulSetList{} }},
	{"DaemonSet", []string{"daemonsets", "daemonset", "ds"}, follow(daemonSet), func() client.ObjectList { return &appsv1.DaemonSetList{} }},
	{"ReplicaSet", []string{"replicasets", "replicaset", "rs"}, follow(replicaSet), func() client.ObjectList { return &appsv1.ReplicaSetList{} }},
	{"Job", []string{"jobs", "job"}, follow(job), func() client.ObjectList { return &batchv1.JobList{} }},
	{"CronJob", []string{"cronjobs", "cronjob", "cj"}, follow(cronJob), func() client.ObjectList { return &batchv1.CronJobList{} }},
	{"Connection", []string{"connections", "connection"}, followConnection, connections},
	{"VaultConfig", []string{"vaultconfigs", "vaultconfig"}, followVaultConfig, vaultConfigs},
	{"VaultTask", []string{"vaulttasks", "vaulttask"}, followVaultTask, vaultTasks},
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
