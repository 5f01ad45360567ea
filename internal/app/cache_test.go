package app

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

func TestTheCacheKeepsNoCopiesAndNoOversizedStatus(t *testing.T) {
	g := NewWithT(t)
	config := &v1alpha1.VaultConfig{}
	config.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	config.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "sallyport.dev/seen": "x"}
	config.Status.Token = &v1alpha1.TokenStatus{Policies: make([]string, 256)}
	_, err := withoutCopies(config)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(config.ManagedFields).To(BeEmpty())
	g.Expect(config.Annotations).To(Equal(map[string]string{"sallyport.dev/seen": "x"}))
	g.Expect(config.Status.Token).NotTo(BeNil())
	config.Status.Token.Policies = make([]string, 52000)
	_, err = withoutCopies(config)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(config.Status.Token).To(BeNil())
}
