package env

import (
	"errors"
	"os"
	"path/filepath"

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
	return func() error { return envtest.UninstallCRDs(cp.Config, options) }, nil
}
