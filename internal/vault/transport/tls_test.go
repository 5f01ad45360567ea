package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"

	. "github.com/onsi/gomega"
)

func TestNewTrust(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	good := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	other := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}))
	broken := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	tests := []struct{ name, certificates, problem string }{
		{"a certificate", good, ""},
		{"two, with text around", "# ours\n" + good + "# theirs\n" + good, ""},
		{"something else in between", other + good, ""},
		{"nothing", "", "holds no PEM certificate"},
		{"no PEM", "MIIB", "holds no PEM certificate"},
		{"something else only", other, "holds no PEM certificate"},
		{"one that is broken", good + broken, "holds a certificate that cannot be parsed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			trusted, problem := newTrust(test.certificates)
			g.Expect(problem).To(Equal(test.problem))
			g.Expect(trusted.pool == nil).To(Equal(problem != ""))
		})
	}
}

func TestPublicRootsAreCompiledIn(t *testing.T) {
	g := NewWithT(t)
	g.Expect(publicRoots().Equal(x509.NewCertPool())).To(BeFalse())
	g.Expect(publicTrust().pool).To(BeIdenticalTo(publicRoots()))
}

func TestNewClientCertificate(t *testing.T) {
	g := NewWithT(t)
	certificate, key := pair(t)
	shown, problem := NewClientCertificate(certificate, key)
	g.Expect(problem).To(BeEmpty())
	g.Expect(shown.certificate.Certificate).To(HaveLen(1))
	again, _ := NewClientCertificate(certificate, key)
	g.Expect(again.key).To(Equal(shown.key))
	otherCertificate, otherKey := pair(t)
	other, _ := NewClientCertificate(otherCertificate, otherKey)
	g.Expect(other.key).NotTo(Equal(shown.key))
	for _, bad := range [][2][]byte{
		{certificate, otherKey}, {key, certificate}, {[]byte("hunter2"), key}, {certificate, []byte("hunter2")},
	} {
		_, problem := NewClientCertificate(bad[0], bad[1])
		g.Expect(problem).To(Equal("holds no PEM certificate with the key that belongs to it"))
	}
}

// pair returns a self-signed certificate and its key, as PEM.
func pair(t *testing.T) (certificate, key []byte) {
	t.Helper()
	g := NewWithT(t)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	g.Expect(err).NotTo(HaveOccurred())
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	g.Expect(err).NotTo(HaveOccurred())
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(
		&pem.Block{Type: "PRIVATE KEY", Bytes: encoded},
	)
}
