package env

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// InstallRollouts installs Argo's own CRD of Rollouts, from the module in ARGO_ROLLOUTS, and returns what removes it,
// with all Rollouts.
func (cp *ControlPlane) InstallRollouts() (remove func() error, err error) {
	module := os.Getenv("ARGO_ROLLOUTS")
	if module == "" {
		return nil, errors.New("ARGO_ROLLOUTS is not set; run the tests with: make test-integration")
	}
	options := envtest.CRDInstallOptions{
		Paths: []string{filepath.Join(module, "manifests", "crds", "rollout-crd.yaml")}, ErrorIfPathMissing: true,
	}
	if _, err := envtest.InstallCRDs(cp.Config, options); err != nil {
		return nil, err
	}
	return func() error { return cp.removeRollouts(options) }, nil
}

// removeRollouts returns when the CRD is gone: one that is installed while the API server still removes it goes with it.
func (cp *ControlPlane) removeRollouts(options envtest.CRDInstallOptions) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	rollouts := &unstructured.UnstructuredList{}
	rollouts.SetGroupVersionKind(schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "RolloutList"})
	if err := cp.Client.List(ctx, rollouts); err != nil {
		return err
	}
	for i := range rollouts.Items { // the CRD stays as long as one of them
		free := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
		if err := cp.Client.Patch(ctx, &rollouts.Items[i], free); err != nil {
			return err
		}
	}
	if err := envtest.UninstallCRDs(cp.Config, options); err != nil {
		return err
	}
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		err := cp.Client.Get(ctx, client.ObjectKey{Name: "rollouts.argoproj.io"}, crd)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
	if err != nil {
		return fmt.Errorf("waiting for the CRD of Rollouts to be gone: %w", err)
	}
	return nil
}
