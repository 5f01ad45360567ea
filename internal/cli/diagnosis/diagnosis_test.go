package diagnosis

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/health"
	"sallyport.dev/sallyport/test/builder"
)

// inspect follows an object among others to Vault.
func inspect(t *testing.T, kind, name string, objects ...client.Object) *Diagnosis {
	t.Helper()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	reader := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
	of, known := KindOf(kind)
	g.Expect(known).To(BeTrue())
	found, err := New(reader, time.Now()).Diagnose(t.Context(), of, client.ObjectKey{Namespace: "shop", Name: name})
	g.Expect(err).NotTo(HaveOccurred())
	return found
}

// A pod template is nobody's to refuse before a pod is made of it.
func TestAPodTemplateWhoseVolumeNamesNoConnectionIsTheCause(t *testing.T) {
	g := NewWithT(t)
	orders := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "orders", UID: "orders"}}
	orders.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "db", VolumeSource: corev1.VolumeSource{
		CSI: &corev1.CSIVolumeSource{Driver: v1alpha1.DriverName},
	}}}
	found := inspect(t, "deployment", "orders", orders)
	g.Expect(found.Healthy).To(BeFalse())
	g.Expect(found.Cause.Object).To(Equal("volume db"))
	g.Expect(found.Cause.Reason).To(Equal(v1alpha1.ReasonInvalidSpec))
	g.Expect(found.Cause.Message).To(Equal("its volumeAttributes name no connection"))
}

// Only the pods have the volumes: admission makes them of the annotation.
func TestAPodTemplateThatAsksForVariablesIsFollowed(t *testing.T) {
	orders := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "orders", UID: "orders"}}
	orders.Spec.Template.Annotations = map[string]string{v1alpha1.AnnotationEnv: "DB_=nope"}
	found := inspect(t, "deploy", "orders", orders)
	NewWithT(t).Expect(found.Cause).To(HaveField("Object", "Connection shop/nope"))
}

// What a volume waits for that was not tried yet is the fault of the one that was.
func TestAVolumeThatOnlyWaitsIsNotTheCause(t *testing.T) {
	g := NewWithT(t)
	var i Inspection
	waits := &Step{Object: "volume a", Health: health.Health{State: health.Progressing, Message: "not mounted yet"}}
	failed := &Step{Object: "volume b", Health: degraded(v1alpha1.ReasonConnectionNotFound, "no")}
	follow := func(step *Step) func() (*Step, error) { return func() (*Step, error) { return i.visit(step) } }
	g.Expect(i.visit(&Step{}, follow(waits), follow(failed))).To(Equal(failed))
	g.Expect(i.visit(&Step{}, follow(failed), follow(waits))).To(Equal(failed))
	g.Expect(i.visit(&Step{}, follow(waits), follow(&Step{Health: healthy("")}))).To(Equal(waits))
}

func TestKindsHaveTheShortNamesThatKubectlTakes(t *testing.T) {
	for short, want := range map[string]string{"conn": "Connection", "vc": "VaultConfig", "vt": "VaultTask"} {
		kind, known := KindOf(short)
		NewWithT(t).Expect([]any{kind.Name, known}).To(Equal([]any{want, true}))
	}
}

func TestReferencesOfFilesAreFollowedToTheirVaultConfigs(t *testing.T) {
	for name, file := range map[string]v1alpha1.ConnectionFile{
		"text": {Path: "a", Value: "user=vault.secret(other:db.user)"},
		"key store": {Path: "a", Keystore: &v1alpha1.Keystore{
			Format: v1alpha1.KeystoreFormatPKCS12, Certificates: []string{"vault.secret(other:tls.ca)"}, Password: "x",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			found := inspect(t, "connection", "db", builder.Connection("shop", "db", nil, builder.WithFiles(file)))
			NewWithT(t).Expect(found.Cause).To(HaveField("Object", "VaultConfig shop/other"))
		})
	}
}
