package abridged

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

func TestTheCacheKeepsNoCopiesAndNoOversizedStatus(t *testing.T) {
	g := NewWithT(t)
	config := &v1alpha1.VaultConfig{}
	config.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	config.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "sallyport.dev/seen": "x"}
	config.Status.Token = &v1alpha1.TokenStatus{Policies: make([]string, 256)}
	_, err := Transform(config)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(config.ManagedFields).To(BeEmpty())
	g.Expect(config.Annotations).To(Equal(map[string]string{"sallyport.dev/seen": "x"}))
	g.Expect(config.Status.Token).NotTo(BeNil())
	config.Status.Token.Policies = make([]string, 52000)
	_, err = Transform(config)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(config.Status.Token).To(BeNil())
}

// large is a Connection of 16,000 small values, with what an author may make large besides.
func large() *v1alpha1.Connection {
	value := map[string]any{}
	for i := range 16_000 {
		value[fmt.Sprintf("%x", i)] = 0
	}
	connection := builder.Connection("shop", "db", value, builder.WithShortestRefresh)
	connection.UID, connection.Generation = "uid", 1
	for i := range maxSecrets {
		secret := builder.VaultSecret(fmt.Sprint(i), strings.Repeat("p", 1000))
		if i%2 == 0 {
			secret.VaultConfigRef.Namespace = "platform"
		}
		connection.Spec.VaultSecrets = append(connection.Spec.VaultSecrets, secret)
	}
	connection.Labels = map[string]string{"large": strings.Repeat("x", 100_000)}
	connection.Annotations = map[string]string{"note": strings.Repeat("x", 200_000), "sallyport.dev/rerun": "1"}
	return connection
}

const maxSecrets = 64

func TestALargeConnectionIsAbridged(t *testing.T) {
	g := NewWithT(t)
	once, err := Transform(large())
	g.Expect(err).NotTo(HaveOccurred())
	twice, err := Transform(once)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(twice).To(Equal(once), "informers may transform twice")
	kept, ok := twice.(*v1alpha1.Connection)
	g.Expect(ok).To(BeTrue())
	encoded, err := json.Marshal(kept)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(encoded)).To(BeNumerically("<", 1000))
	size, isAbridged := abridgedSize(kept)
	g.Expect(isAbridged).To(BeTrue())
	g.Expect(size).To(BeNumerically(">", 1_600_000), "entries of a map take more than their JSON")
	g.Expect(kept.Spec.RefreshInterval).NotTo(BeNil())
	g.Expect(ContentDigest(kept)).To(Equal(large().Spec.ContentDigest()), "pods are rolled when it changes")
	g.Expect(kept.Spec.VaultSecrets).To(HaveLen(1), "by which VaultConfig elsewhere it is found")
	g.Expect(kept.Annotations).To(HaveKeyWithValue("sallyport.dev/rerun", "1"))

	usual := builder.Connection("shop", "db", map[string]any{"user": "vault.secret(user)"}, builder.WithSecret("db"))
	same, err := Transform(usual.DeepCopy())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(same).To(Equal(usual))
}

func TestLargeTasksConfigsAndWorkloadsAreAbridged(t *testing.T) {
	g := NewWithT(t)
	task := builder.VaultTask("shop", "write", v1alpha1.OperationWrite, "db")
	task.Spec.Data = map[string]v1alpha1.TaskValue{"large": v1alpha1.TaskValue(strings.Repeat("x", 500_000))}
	config := builder.VaultConfig("shop", "main")
	config.Spec.CACertificate = strings.Repeat("x", 200_000)
	config.Status.AuthMethod = "Token"
	workload := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{
		Name: "web", Labels: map[string]string{"large": strings.Repeat("x", 100_000)},
		Annotations: map[string]string{v1alpha1.AnnotationRestartOnChange: "true", "large": strings.Repeat("x", 200_000)},
	}}
	for _, object := range []client.Object{task, config, workload} {
		kept, err := Transform(object)
		g.Expect(err).NotTo(HaveOccurred())
		encoded, err := json.Marshal(kept)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(len(encoded)).To(BeNumerically("<", 1000), "%T", object)
	}
	g.Expect(workload.Annotations).To(Equal(map[string]string{v1alpha1.AnnotationRestartOnChange: "true"}))
	namespace := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{
		Name: "shop", Labels: map[string]string{"team": "a"}}}
	_, err := Transform(namespace)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(namespace.Labels).To(HaveKey("team"), "selectors look at them")
}

func TestAnnotationsThatMeanNothingAreNotKept(t *testing.T) {
	g := NewWithT(t)
	annotations := map[string]string{}
	for i := range 200 {
		annotations[fmt.Sprintf("sallyport.dev/a%d", i)] = strings.Repeat("x", 1024)
	}
	annotations[v1alpha1.AnnotationRefresh] = "now"
	connection := builder.Connection("shop", "db", map[string]any{"a": "b"})
	connection.Annotations = annotations
	kept, err := Transform(connection)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kept.(*v1alpha1.Connection).Annotations).To(And(HaveLen(3), HaveKeyWithValue(v1alpha1.AnnotationRefresh, "now")))
	metadata := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "Deployment"}}
	metadata.Annotations = annotations
	kept, err = Transform(metadata)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kept.(*metav1.PartialObjectMetadata).Annotations).To(Equal(map[string]string{v1alpha1.AnnotationRefresh: "now"}))
}
