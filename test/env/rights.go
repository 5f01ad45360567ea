package env

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// AwaitRights waits until the API server's authorizer follows every role and binding that was created, changed or deleted
// before. It takes each of the four kinds over from a watch of its own, in the order of the writes. So one of each kind
// is created last; once it has an effect, all that was written before has its own.
func (cp *ControlPlane) AwaitRights(ctx context.Context) error {
	probe := "rights-" + strings.ToLower(rand.Text())
	inNamespace, inCluster := probe+"-in-namespace", probe+"-in-cluster"
	rules := []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{probe}, Verbs: []string{"get"},
	}}
	user := func(name string) rbacv1.Subject {
		return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
	}
	objects := []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: probe}, Rules: rules},
		binding(probe, probe, user(inCluster)),
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: probe}, Rules: rules},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: probe},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: probe},
			Subjects:   []rbacv1.Subject{user(inNamespace)},
		},
	}
	for _, object := range objects {
		if err := cp.Client.Create(ctx, object); err != nil {
			return err
		}
	}
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		first, err := cp.mayGetConfigMap(ctx, inCluster, probe)
		if err != nil || !first {
			return false, err
		}
		return cp.mayGetConfigMap(ctx, inNamespace, probe)
	})
	if err != nil {
		return fmt.Errorf("waiting for the authorizer to follow roles and bindings: %w", err)
	}
	for _, object := range objects {
		err = errors.Join(err, cp.Client.Delete(ctx, object))
	}
	return err
}

func (cp *ControlPlane) mayGetConfigMap(ctx context.Context, user, name string) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: Namespace, Verb: "get", Resource: "configmaps", Name: name,
		},
	}}
	err := cp.Client.Create(ctx, review)
	return review.Status.Allowed, err
}
