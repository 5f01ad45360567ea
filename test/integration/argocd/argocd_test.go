// Package argocd evaluates the health checks and actions of config/argocd by Argo CD itself, and what the same objects
// are to kstatus. Argo CD runs as the program that hack/tools.sh built; there is no cluster.
package argocd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
)

const (
	config         = "../../../config/argocd/"
	customizations = config + "resource_customizations/sallyport.dev/"
)

var kinds = []string{"Connection", "VaultConfig", "VaultTask"}

func TestArgoCD(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Argo CD")
}

// healthTest is an entry of health_test.yaml, as the tests of Argo CD's own repository read it.
type healthTest struct {
	InputPath    string `json:"inputPath"`
	HealthStatus struct {
		Status  string `json:"status"`
		Message string `json:"message"`
	} `json:"healthStatus"`
}

// actionTests is action_test.yaml.
type actionTests struct {
	DiscoveryTests []struct {
		InputPath string `json:"inputPath"`
		Result    []struct {
			Name     string `json:"name"`
			Disabled bool   `json:"disabled"`
		} `json:"result"`
	} `json:"discoveryTests"`
	ActionTests []struct {
		Action             string `json:"action"`
		InputPath          string `json:"inputPath"`
		ExpectedOutputPath string `json:"expectedOutputPath"`
	} `json:"actionTests"`
}

func read(path string, into any) {
	GinkgoHelper()
	data, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred())
	Expect(yaml.Unmarshal(data, into)).To(Succeed(), path)
}

func healthTests(kind string) []healthTest {
	GinkgoHelper()
	var file struct {
		Tests []healthTest `json:"tests"`
	}
	read(customizations+kind+"/health_test.yaml", &file)
	Expect(file.Tests).NotTo(BeEmpty())
	return file.Tests
}

// overrides runs "argocd admin settings resource-overrides" with the ConfigMap that is installed.
func overrides(args ...string) string {
	GinkgoHelper()
	program := os.Getenv("ARGOCD_BINARY")
	Expect(program).NotTo(BeEmpty(), "ARGOCD_BINARY is the program of Argo CD; hack/tools.sh --path argocd builds it")
	args = append([]string{"admin", "settings", "resource-overrides"}, args...)
	args = append(args, "--argocd-cm-path", config+"argocd-cm.yaml")
	command := exec.CommandContext(context.Background(), program, args...)
	command.Args[0] = "argocd" // it is every program of Argo CD, by its name
	command.Env = append(os.Environ(), "HOME="+GinkgoT().TempDir())
	var complaints strings.Builder
	command.Stderr = &complaints
	output, err := command.Output()
	Expect(err).NotTo(HaveOccurred(), "%v: %s%s", args, output, &complaints)
	return string(output)
}

var _ = Describe("To Argo CD", func() {
	for _, kind := range kinds {
		It("the health of a "+kind+" is right in each state", func() {
			seen := map[string]bool{}
			for _, test := range healthTests(kind) {
				seen[filepath.Base(test.InputPath)] = true
				output := overrides("health", customizations+kind+"/"+test.InputPath)
				Expect(output).To(Equal("STATUS: "+test.HealthStatus.Status+"\nMESSAGE: "+test.HealthStatus.Message+"\n"),
					test.InputPath)
			}
			files, err := os.ReadDir(customizations + kind + "/testdata")
			Expect(err).NotTo(HaveOccurred())
			for _, file := range files {
				Expect(seen).To(HaveKey(file.Name()), "a state without a test")
			}
		})

		It("the actions of a "+kind+" are there when they can be used", func() {
			var tests actionTests
			dir := customizations + kind + "/actions/"
			read(dir+"action_test.yaml", &tests)
			Expect(tests.DiscoveryTests).NotTo(BeEmpty())
			for _, test := range tests.DiscoveryTests {
				offered := map[string]string{}
				for line := range strings.Lines(overrides("list-actions", dir+test.InputPath)) {
					fields := strings.Fields(line)
					Expect(fields).To(HaveLen(2))
					offered[fields[0]] = fields[1]
				}
				expected := map[string]string{"NAME": "DISABLED"}
				for _, action := range test.Result {
					expected[action.Name] = strconv.FormatBool(action.Disabled)
				}
				Expect(offered).To(Equal(expected), test.InputPath)
			}
		})

		It("the actions of a "+kind+" change what they say", func() {
			var tests actionTests
			dir := customizations + kind + "/actions/"
			read(dir+"action_test.yaml", &tests)
			for _, test := range tests.ActionTests {
				before, after := object(dir+test.InputPath), object(dir+test.ExpectedOutputPath)
				expected := append(without("< ", lines(before), lines(after)), without("> ", lines(after), lines(before))...)
				Expect(expected).NotTo(BeEmpty())
				Expect(changes("run-action", dir+test.InputPath, test.Action)).To(ConsistOf(expected), test.Action)
			}
		})
	}

	DescribeTable("an action writes the time into an annotation", func(kind, input, action, annotation string) {
		Expect(changes("run-action", customizations+kind+"/actions/testdata/"+input, action)).To(ConsistOf(
			Equal("> annotations:"),
			MatchRegexp(`^> `+regexp.QuoteMeta(annotation)+`: "20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"$`)))
	},
		Entry(nil, "Connection", "connection.yaml", "refresh", v1alpha1.AnnotationRefresh),
		Entry(nil, "VaultConfig", "enabled.yaml", "refresh", v1alpha1.AnnotationRefresh),
		Entry(nil, "VaultTask", "done.yaml", "rerun", v1alpha1.AnnotationRerun),
	)
})

// To kstatus, hence to Flux, helm --wait and kpt, an object that its owner switched off is current: they wait for
// nothing. It knows neither hooks nor annotations.
var _ = Describe("To kstatus", func() {
	for _, kind := range kinds {
		It("the status of a "+kind+" is right in each state", func() {
			for _, test := range healthTests(kind) {
				expected := map[string]kstatus.Status{
					"Healthy": kstatus.CurrentStatus, "Suspended": kstatus.CurrentStatus,
					"Progressing": kstatus.InProgressStatus, "Degraded": kstatus.FailedStatus,
				}[test.HealthStatus.Status]
				switch filepath.Base(test.InputPath) {
				case "progressing_noStatus.yaml", "progressing_noConditions.yaml":
					continue // the API server gives every new object a status, the controller conditions
				case "progressing_rerun.yaml":
					expected = kstatus.FailedStatus
				case "healthy_hookThatGoes.yaml":
					expected = kstatus.TerminatingStatus
				}
				result, err := kstatus.Compute(object(customizations + kind + "/" + test.InputPath))
				Expect(err).NotTo(HaveOccurred())
				Expect(result.Status).To(Equal(expected), test.InputPath)
			}
		})
	}
})

// changes are the lines that an action changes, as diff marks them, without indentation.
func changes(args ...string) []string {
	GinkgoHelper()
	var changed []string
	for line := range strings.Lines(overrides(args...)) {
		if mark := line[:min(2, len(line))]; mark == "< " || mark == "> " {
			changed = append(changed, mark+strings.TrimSpace(line[2:]))
		}
	}
	return changed
}

func lines(object *unstructured.Unstructured) []string {
	GinkgoHelper()
	data, err := yaml.Marshal(object.Object)
	Expect(err).NotTo(HaveOccurred())
	return strings.Split(string(data), "\n")
}

// without returns the lines of all that others do not have, marked.
func without(mark string, all, others []string) []string {
	var left []string
	for _, line := range all {
		if !slices.Contains(others, line) {
			left = append(left, mark+strings.TrimSpace(line))
		}
	}
	return left
}

func object(path string) *unstructured.Unstructured {
	GinkgoHelper()
	data, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred())
	data, err = yaml.YAMLToJSON(data)
	Expect(err).NotTo(HaveOccurred())
	found := &unstructured.Unstructured{}
	Expect(found.UnmarshalJSON(data)).To(Succeed(), path) // which keeps integers
	return found
}
