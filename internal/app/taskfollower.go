package app

import (
	"context"
	"encoding/json"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/shares"
)

// How many changed secrets of one namespace's tasks are told: as many at once as a pipeline may write, and no more for
// long than nodes can follow, each of whose volumes with the secret reads it again. What is not told is found when the
// refresh interval ends.
const (
	changesPerSecond = 1
	changesAtOnce    = 60
	// maxFollowed bounds for how many namespaces that is counted.
	maxFollowed = 1000
)

// taskFollower tells of secrets that VaultTasks have changed. It asks nobody: objects is what informers keep, also of
// what is large, so that no namespace's objects hold up the notices for the others.
type taskFollower struct {
	objects client.Reader
	changed func(place string)
	// limiters by namespace.
	limiters *shares.Limiters
}

func newTaskFollower(objects client.Reader, changed func(place string)) *taskFollower {
	return &taskFollower{
		objects: objects, changed: changed,
		limiters: shares.NewLimiters(changesPerSecond, changesAtOnce, maxFollowed),
	}
}

// updated tells of the secret if the task has a new result. The informer calls it, one event at a time.
func (f *taskFollower) updated(ctx context.Context, before, after *v1alpha1.VaultTask) {
	if !after.Spec.Operation.HasEffect() || after.Status.Result == nil ||
		equality.Semantic.DeepEqual(before.Status.Result, after.Status.Result) || !f.limiters.Of(after.Namespace).Allow() {
		return
	}
	if address, vaultNamespace := f.vaultOf(ctx, after); address != "" {
		f.changed(resolver.Place(address, vaultNamespace, after.Status.Result.Path))
	}
}

// vaultOf returns which Vault a task acted on; nothing if what said so is gone.
func (f *taskFollower) vaultOf(ctx context.Context, task *v1alpha1.VaultTask) (address, vaultNamespace string) {
	switch spec := &task.Spec; {
	case spec.Vault != nil:
		return spec.Vault.URL, spec.Vault.VaultNamespace
	case spec.VaultConfigRef != nil:
		config := &v1alpha1.VaultConfig{}
		if f.objects.Get(ctx, resolver.ConfigKey(task.Namespace, *spec.VaultConfigRef), config) == nil {
			return config.Spec.URL, config.Spec.VaultNamespace
		}
	case spec.ConnectionRef != nil:
		connection := &v1alpha1.Connection{}
		key := client.ObjectKey{Namespace: task.Namespace, Name: spec.ConnectionRef.Name}
		if f.objects.Get(ctx, key, connection) == nil {
			// Both are literal: a reference is refused there.
			_ = json.Unmarshal(connection.Spec.Value["url"].Raw, &address)
			_ = json.Unmarshal(connection.Spec.Value["vaultNamespace"].Raw, &vaultNamespace)
		}
	}
	return address, vaultNamespace
}
