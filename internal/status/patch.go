package status

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// PatchConnection writes the status of a Connection where it differs from what it was, unless somebody else wrote
// meanwhile. Neither what is sent nor what is answered holds the spec, which may be many times larger.
func PatchConnection(
	ctx context.Context, c client.Client, connection *v1alpha1.Connection, before *v1alpha1.ConnectionStatus,
) error {
	bare := func(status *v1alpha1.ConnectionStatus) *v1alpha1.Connection {
		return &v1alpha1.Connection{Status: *status, ObjectMeta: metav1.ObjectMeta{
			Namespace: connection.Namespace, Name: connection.Name, ResourceVersion: connection.ResourceVersion,
		}}
	}
	patch := client.MergeFromWithOptions(bare(before), client.MergeFromWithOptimisticLock{})
	data, err := patch.Data(bare(&connection.Status))
	if err != nil {
		return err
	}
	metadata := &metav1.PartialObjectMetadata{
		ObjectMeta: metav1.ObjectMeta{Namespace: connection.Namespace, Name: connection.Name},
	}
	metadata.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Connection"))
	return c.Status().Patch(ctx, metadata, client.RawPatch(types.MergePatchType, data))
}
