// Package storing has a VaultTask store a value that nobody else may see on the way: the user's own token wraps it in
// Vault, so that the cluster has but a token that works once, and the task unwraps it.
package storing

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/ownvault"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

const (
	// wrappedFor is how long Vault keeps a value, and so how long a task may take.
	wrappedFor = 10 * time.Minute
	// tokenKey is the key of the Secret that has the wrapping token.
	tokenKey = "token"
	// pause is between two looks at the task.
	pause = 250 * time.Millisecond
)

// Store has a task store values. The Secret with the wrapping token belongs to the task; Settle deletes it.
func Store(
	ctx context.Context, cluster client.Client, own *ownvault.Vault, task *v1alpha1.VaultTask, values map[string]any,
) (*corev1.Secret, error) {
	config := &v1alpha1.VaultConfig{}
	key := client.ObjectKey{Namespace: task.Spec.VaultConfigRef.Namespace, Name: task.Spec.VaultConfigRef.Name}
	if key.Namespace == "" {
		key.Namespace = task.Namespace
	}
	if err := cluster.Get(ctx, key, config); err != nil {
		return nil, err
	}
	session, err := own.Session(ctx, config.Spec.VaultNamespace)
	if err != nil {
		return nil, err
	}
	token, err := secrets.Wrap(ctx, session, values, wrappedFor)
	if err != nil {
		return nil, ownvault.Explain(err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: task.Namespace, GenerateName: "wrapped-"},
		Data:       map[string][]byte{tokenKey: []byte(token.Reveal())},
		Immutable:  new(true),
	}
	if err := cluster.Create(ctx, secret); err != nil {
		return nil, err
	}
	task.Spec.Unwrap = &v1alpha1.WrappingTokenSource{
		SecretKeyRef: v1alpha1.SecretKeyReference{Name: secret.Name, Key: tokenKey},
	}
	task.Spec.ActiveDeadlineSeconds = new(int64(wrappedFor / time.Second))
	if err := cluster.Create(ctx, task); err != nil {
		return nil, errors.Join(err, client.IgnoreNotFound(cluster.Delete(context.WithoutCancel(ctx), secret)))
	}
	before := secret.DeepCopy()
	secret.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "VaultTask", Name: task.Name, UID: task.UID,
	}}
	return secret, cluster.Patch(ctx, secret, client.MergeFrom(before))
}

// Outcome of a task: whether it is done, and what it says.
type Outcome struct {
	Complete bool
	Message  string
}

// Settle waits until a task has ended, and deletes what it needs no more; nil if it has none. If it does not end in
// time, the outcome is what it waits for.
func Settle(
	ctx context.Context, cluster client.Client, task *v1alpha1.VaultTask, needed *corev1.Secret, timeout time.Duration,
) (*Outcome, error) {
	ended := false
	// A look that has begun ends, so that the end of the time is never its error.
	err := wait.PollUntilContextTimeout(ctx, pause, timeout, true, func(context.Context) (bool, error) {
		if err := cluster.Get(ctx, client.ObjectKeyFromObject(task), task); err != nil {
			return false, err
		}
		ended = meta.IsStatusConditionTrue(task.Status.Conditions, v1alpha1.ConditionComplete) ||
			meta.IsStatusConditionTrue(task.Status.Conditions, v1alpha1.ConditionFailed)
		return ended, nil
	})
	switch {
	case err == nil && needed != nil:
		if err := client.IgnoreNotFound(cluster.Delete(ctx, needed)); err != nil {
			return nil, fmt.Errorf("the task has ended, but Secret %s, whose token is used up, was not deleted: %w", needed.Name, err)
		}
	case err != nil && (ctx.Err() != nil || !wait.Interrupted(err)):
		return nil, err
	}
	outcome := &Outcome{Complete: meta.IsStatusConditionTrue(task.Status.Conditions, v1alpha1.ConditionComplete)}
	if ready := meta.FindStatusCondition(task.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		outcome.Message = ready.Message
		if !outcome.Complete {
			outcome.Message = ready.Reason + ": " + ready.Message
		}
	}
	if !ended {
		outcome.Message = "it has not ended yet. " + outcome.Message
	}
	return outcome, nil
}
