package env

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Namespace is Sallyport's own namespace.
const Namespace = "sallyport-system"

// ControlPlane is a real etcd and kube-apiserver with Sallyport's CRDs, roles and admission policies, as config/ has
// them.
type ControlPlane struct {
	// Config has all rights.
	Config *rest.Config
	// Client and Clients use Config.
	Client  client.Client
	Clients *kubernetes.Clientset
	// Scheme knows Sallyport's kinds.
	Scheme *runtime.Scheme

	env *envtest.Environment
}

// StartControlPlane starts the programs in KUBEBUILDER_ASSETS, with more flags of the API server, if any. The caller
// stops it.
func StartControlPlane(ctx context.Context, flags ...func(*envtest.Arguments)) (_ *ControlPlane, err error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return nil, errors.New("KUBEBUILDER_ASSETS is not set; run the tests with: make test-integration")
	}
	cp := &ControlPlane{
		Scheme: runtime.NewScheme(),
		env: &envtest.Environment{
			CRDDirectoryPaths:        []string{filepath.Join(root, "config", "crd", "bases")},
			ErrorIfCRDPathMissing:    true,
			ControlPlaneStartTimeout: 2 * time.Minute,
			ControlPlaneStopTimeout:  time.Minute,
		},
	}
	if err := errors.Join(clientgoscheme.AddToScheme(cp.Scheme), v1alpha1.AddToScheme(cp.Scheme)); err != nil {
		return nil, err
	}
	for _, set := range flags {
		set(cp.env.ControlPlane.GetAPIServer().Configure())
	}
	if cp.Config, err = cp.env.Start(); err != nil {
		return nil, fmt.Errorf("starting etcd and kube-apiserver: %w", err)
	}
	// Programs that nobody stops would outlive the suite.
	defer func() {
		if err != nil {
			err = errors.Join(err, cp.Stop())
		}
	}()
	cp.Config.QPS = -1
	if cp.Client, err = client.New(cp.Config, client.Options{Scheme: cp.Scheme}); err != nil {
		return nil, err
	}
	if cp.Clients, err = kubernetes.NewForConfig(cp.Config); err != nil {
		return nil, err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	if err := cp.Client.Create(ctx, namespace); err != nil {
		return nil, err
	}
	for _, dir := range []string{"rbac", "admission"} {
		if err := cp.apply(ctx, filepath.Join(root, "config", dir)); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(cp.awaitPolicies(ctx), cp.AwaitRights(ctx)); err != nil {
		return nil, err
	}
	return cp, nil
}

// Stop stops the control plane.
func (cp *ControlPlane) Stop() error { return cp.env.Stop() }

// apply creates every object of the manifests in a directory.
func (cp *ControlPlane) apply(ctx context.Context, dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if filepath.Base(path) == "kustomization.yaml" {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
		for {
			object := &unstructured.Unstructured{}
			if err := decoder.Decode(object); err != nil {
				if errors.Is(err, io.EOF) {
					break
				}
				return fmt.Errorf("%s: %w", path, err)
			}
			if len(object.Object) == 0 {
				continue
			}
			if err := cp.Client.Create(ctx, object); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	return nil
}

// Root returns the root of the checkout.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "config", "crd")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the tests must run inside the checkout")
		}
		dir = parent
	}
}
