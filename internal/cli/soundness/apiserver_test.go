package soundness

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/cluster"
	"sallyport.dev/sallyport/internal/cli/health"
)

// No real API server is that old, or has another clock than this machine.
func TestAnOldClusterAndAnotherClockAreNamed(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for name, row := range map[string]struct {
		minor      string
		date       time.Time
		kubernetes Finding
		clock      Finding
	}{
		"new enough, and in time": {
			"32", now.Add(-20 * time.Second), finding("Kubernetes", health.Healthy, "v1.32.1"),
			finding("Clock", health.Healthy, "the API server's and this machine's agree"),
		},
		"too old, and late": {
			"31+", now.Add(-2 * time.Minute),
			finding("Kubernetes", health.Degraded, "it is v1.31+.1; Sallyport needs 1.32 or newer: upgrade the cluster"),
			finding("Clock", health.Degraded, "the API server's clock and this machine's are 2m0s apart: set them by NTP"),
		},
		"ahead": {
			"37", now.Add(time.Minute), finding("Kubernetes", health.Healthy, "v1.37.1"),
			finding("Clock", health.Degraded, "the API server's clock and this machine's are 1m0s apart: set them by NTP"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", row.date.Format(http.TimeFormat))
				_, _ = w.Write([]byte(`{"minor": "` + row.minor + `", "gitVersion": "v1.` + row.minor + `.1"}`))
			}))
			defer server.Close()
			c := &checkup{Cluster: &cluster.Cluster{Config: &rest.Config{Host: server.URL}}, now: now}
			g.Expect(c.apiServer(t.Context())).To(Succeed())
			g.Expect(c.findings).To(HaveExactElements(row.kubernetes, row.clock))
		})
	}
}

// Where the API server does not tell its time, this machine's is taken, and no leader's clock is ahead by centuries.
func TestAnAPIServerThatDoesNotTellItsVersionAccusesNobody(t *testing.T) {
	g := NewWithT(t)
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer server.Close()
	scheme := runtime.NewScheme()
	g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	led := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.InstallNamespace, Name: lease}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: new("sallyport-controller-0_x"), RenewTime: &metav1.MicroTime{Time: now},
	}}
	allow := interceptor.Funcs{Create: func(_ context.Context, _ client.WithWatch, of client.Object, _ ...client.CreateOption) error {
		of.(*authorizationv1.SubjectAccessReview).Status.Allowed = true
		return nil
	}}
	reader := fake.NewClientBuilder().WithScheme(scheme).WithObjects(led).WithInterceptorFuncs(allow).Build()
	to := &cluster.Cluster{Client: reader, Config: &rest.Config{Host: server.URL}}
	findings, err := Check(t.Context(), to, now)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(findings).To(ContainElements(
		finding("Kubernetes", health.Unknown, "you have no right to look at it"), finding("Leader", health.Healthy, "sallyport-controller-0"),
	))
}

func finding(subject string, state health.State, message string) Finding {
	return Finding{Subject: subject, Health: health.Health{State: state, Message: message}}
}

func TestCertificatesOfReplicasAreReadAndMustBeFresh(t *testing.T) {
	now := time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	until := func(end time.Time) string {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-24 * time.Hour), NotAfter: end}
		made, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made}))
	}
	c := &checkup{clock: now}
	for sentence, published := range map[string]string{
		"": until(now.Add(12*time.Hour + time.Minute)),
		"is ready and has published no certificate":         "",
		"has published what is no certificate":              "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"has a certificate that expired 3h ago":             until(now.Add(-3 * time.Hour)),
		"has not renewed its certificate, which ends in 5h": until(now.Add(5*time.Hour + time.Second)),
	} {
		NewWithT(t).Expect(c.certificate(published)).To(HavePrefix(sentence))
		if sentence == "" {
			NewWithT(t).Expect(c.certificate(published)).To(BeEmpty())
		}
	}
}

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
