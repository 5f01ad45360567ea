// Package chart tests the Helm chart of config/chart: that it is what kustomize makes of config/, option by option;
// that wrong values are refused; and what a real API server makes of installation, upgrade and uninstallation. No
// program of Sallyport runs here.
package chart

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"sallyport.dev/sallyport/test/env"
)

const (
	namespace = env.Namespace
	kept      = "helm.sh/resource-policy"
)

func TestChart(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Helm chart")
}

// config returns a path below config/.
func config(path string) string {
	GinkgoHelper()
	root, err := env.Root()
	Expect(err).NotTo(HaveOccurred())
	return filepath.Join(root, "config", path)
}

// helm runs Helm and returns what it printed.
func helm(ctx context.Context, arguments ...string) (string, error) {
	GinkgoHelper()
	program := os.Getenv("HELM_BINARY")
	Expect(program).NotTo(BeEmpty(), "HELM_BINARY is not set; run the tests with: make test-chart")
	command := exec.CommandContext(ctx, program, arguments...)
	command.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	output, err := command.CombinedOutput()
	return string(output), err
}

// home keeps what Helm stores out of the user's own directories.
var home string

var _ = BeforeSuite(func() { home = GinkgoT().TempDir() })

// template renders the chart with values, which are files or --set flags.
func template(ctx context.Context, arguments ...string) (objects, error) {
	GinkgoHelper()
	file := filepath.Join(GinkgoT().TempDir(), "rendered")
	base := []string{"template", "sallyport", config("chart"), "--namespace", namespace, "--output-dir", file}
	if output, err := helm(ctx, append(base, arguments...)...); err != nil {
		return nil, errors.New(output)
	}
	paths, err := filepath.Glob(filepath.Join(file, "sallyport", "templates", "*.yaml"))
	Expect(err).NotTo(HaveOccurred())
	all := objects{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		Expect(err).NotTo(HaveOccurred())
		maps.Copy(all, parse(string(content)))
	}
	return all, nil
}

// rendered is template where that must not fail.
func rendered(ctx context.Context, arguments ...string) objects {
	GinkgoHelper()
	all, err := template(ctx, arguments...)
	Expect(err).NotTo(HaveOccurred())
	return all
}

// kustomized returns what kustomize makes of a directory.
func kustomized(ctx context.Context, directory string) objects {
	GinkgoHelper()
	return parse(kubectl(ctx, "kustomize", "--load-restrictor", "LoadRestrictionsNone", directory))
}

func kubectl(ctx context.Context, arguments ...string) string {
	GinkgoHelper()
	command := exec.CommandContext(ctx, filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), arguments...)
	var message strings.Builder
	command.Stderr = &message
	output, err := command.Output()
	Expect(err).NotTo(HaveOccurred(), message.String())
	return string(output)
}

// objects are keyed by kind, namespace and name.
type objects map[string]*unstructured.Unstructured

func (o objects) names() []string { return slices.Sorted(maps.Keys(o)) }

func parse(text string) objects {
	GinkgoHelper()
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	all := objects{}
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return all
		}
		Expect(err).NotTo(HaveOccurred())
		if len(object.Object) == 0 {
			continue
		}
		key := strings.Join([]string{object.GetKind(), object.GetNamespace(), object.GetName()}, "/")
		Expect(all).NotTo(HaveKey(key), "an object stands there twice")
		all[key] = object
	}
}
