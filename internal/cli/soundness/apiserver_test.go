package soundness

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
)

func TestGatesThatAreOffAreNamedIfTheyAreNeeded(t *testing.T) {
	g := NewWithT(t)
	metrics := []byte(`# TYPE kubernetes_feature_enabled gauge
kubernetes_feature_enabled{name="CSIServiceAccountTokenSecrets",stage="BETA"} 0
kubernetes_feature_enabled{name="ServiceAccountTokenPodNodeInfo",stage=""} 0
kubernetes_feature_enabled{name="ValidatingAdmissionPolicy",stage=""} 1
kubernetes_feature_enabled{name="SomethingElse",stage="ALPHA"} 0
`)
	g.Expect(neededAndOff(metrics, 37)).To(Equal([]string{"CSIServiceAccountTokenSecrets", "ServiceAccountTokenPodNodeInfo"}))
	g.Expect(neededAndOff(metrics, 34)).To(Equal([]string{"ServiceAccountTokenPodNodeInfo"}))
	g.Expect(neededAndOff(nil, 37)).To(BeEmpty())
}

// A policy that is added to config/admission is looked for, too.
func TestPoliciesAreThoseOfTheManifests(t *testing.T) {
	g := NewWithT(t)
	paths, err := filepath.Glob("../../../config/admission/*.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var names []string
	for _, path := range paths {
		content, err := os.ReadFile(path)
		g.Expect(err).NotTo(HaveOccurred())
		for _, match := range regexp.MustCompile(`(?m)^ {2}policyName: (\S+)$`).FindAllSubmatch(content, -1) {
			names = append(names, string(match[1]))
		}
	}
	slices.Sort(names)
	g.Expect(names).To(Equal(Policies))
}
