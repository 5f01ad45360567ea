package scale

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// tokenLife is longer than the longest run, so that nobody has to do what a kubelet does once a minute.
const tokenLife = 48 * time.Hour

// issuer signs tokens with the API server's own key, as it would answer a TokenRequest: a hundred thousand requests are
// not what is measured here. The key is of ECDSA, with which that takes microseconds.
type issuer struct {
	file   string
	signer jose.Signer
	name   string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	private, err := x509.MarshalECPrivateKey(key)
	g.Expect(err).NotTo(HaveOccurred())
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	g.Expect(err).NotTo(HaveOccurred())
	i := &issuer{file: filepath.Join(t.TempDir(), "service-account.key"), name: "https://scale.example.com"}
	g.Expect(os.WriteFile(i.file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600)).To(Succeed())
	// The API server names its keys so. Source: keyIDFromPublicKey in kubernetes/pkg/serviceaccount.
	id := sha256.Sum256(public)
	i.signer, err = jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: base64.RawURLEncoding.EncodeToString(id[:])}}, nil)
	g.Expect(err).NotTo(HaveOccurred())
	return i
}

// configure has the API server take the key for its own.
func (i *issuer) configure(apiServer *envtest.Arguments) {
	apiServer.Set("service-account-issuer", i.name)
	apiServer.Set("service-account-key-file", i.file)
	apiServer.Set("service-account-signing-key-file", i.file)
}

type claimed struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

func nameOf(object metav1.Object) claimed { return claimed{object.GetName(), string(object.GetUID())} }

// token is for a pod on a node. Source of the claims: kubernetes/pkg/serviceaccount/claims.go.
func (i *issuer) token(pod *corev1.Pod, account *corev1.ServiceAccount, node *corev1.Node, audience string) (string, error) {
	now := time.Now()
	return jwt.Signed(i.signer).
		Claims(jwt.Claims{
			Issuer: i.name, Subject: "system:serviceaccount:" + account.Namespace + ":" + account.Name, Audience: jwt.Audience{audience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(tokenLife)),
		}).
		Claims(map[string]any{"kubernetes.io": map[string]any{
			"namespace": account.Namespace, "serviceaccount": nameOf(account), "pod": nameOf(pod), "node": nameOf(node),
		}}).
		Serialize()
}
