package app

import (
	"context"
	"encoding/json"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/resolver"
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

// taskFollower tells of secrets that VaultTasks have changed.
type taskFollower struct {
	objects client.Reader
	changed func(place string)
	// limiters by namespace, *rate.Limiter.
	limiters *lru.Cache
}

func newTaskFollower(objects client.Reader, changed func(place string)) *taskFollower {
	return &taskFollower{objects: objects, changed: changed, limiters: lru.New(maxFollowed)}
}

// updated tells of the secret if the task has a new result. The informer calls it, one event at a time.
func (f *taskFollower) updated(ctx context.Context, before, after *v1alpha1.VaultTask) {
	if !after.Spec.Operation.HasEffect() || after.Status.Result == nil ||
		equality.Semantic.DeepEqual(before.Status.Result, after.Status.Result) || !f.limiter(after.Namespace).Allow() {
		return
	}
	if address, vaultNamespace := f.vaultOf(ctx, after); address != "" {
		f.changed(resolver.Place(address, vaultNamespace, after.Status.Result.Path))
	}
}

func (f *taskFollower) limiter(namespace string) *rate.Limiter {
	if found, ok := f.limiters.Get(namespace); ok {
		limiter, _ := found.(*rate.Limiter)
		return limiter
	}
	limiter := rate.NewLimiter(changesPerSecond, changesAtOnce)
	f.limiters.Add(namespace, limiter)
	return limiter
}

// vaultOf returns which Vault a task acted on; nothing if what said so is gone.
func (f *taskFollower) vaultOf(ctx context.Context, task *v1alpha1.VaultTask) (address, vaultNamespace string) {
	switch spec := &task.Spec; {
	case spec.Vault != nil:
		return spec.Vault.URL, spec.Vault.VaultNamespace
	case spec.VaultConfigRef != nil:
		key := client.ObjectKey{Namespace: spec.VaultConfigRef.Namespace, Name: spec.VaultConfigRef.Name}
		if key.Namespace == "" {
			key.Namespace = task.Namespace
		}
		config := &v1alpha1.VaultConfig{}
		if f.objects.Get(ctx, key, config) == nil {
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
