package vault

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
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

func TestHTTPClientTakesNothingFromTheEnvironment(t *testing.T) {
	g := NewWithT(t)
	client := newHTTPClient(publicTrust())
	transport, ok := client.Transport.(*bounded)
	g.Expect(ok).To(BeTrue())
	g.Expect(transport.Proxy).To(BeNil())
	g.Expect(transport.TLSClientConfig.MinVersion).To(Equal(uint16(tls.VersionTLS12)))
	g.Expect(transport.TLSClientConfig.InsecureSkipVerify).To(BeFalse())
	g.Expect(transport.TLSClientConfig.RootCAs).NotTo(BeNil(), "nil would be the system's")
	g.Expect(client.Jar).To(BeNil())
	g.Expect(client.CheckRedirect(nil, nil)).To(Equal(http.ErrUseLastResponse))
}

func TestLinksAreSharedAndDropped(t *testing.T) {
	g := NewWithT(t)
	all := links{timeout: time.Second, clock: clock.RealClock{}, byKey: map[linkKey]*link{}}
	get := func(origin string, trust trust) *link {
		l, err := all.get(origin, trust, nil)
		g.Expect(err).NotTo(HaveOccurred())
		return l
	}
	a := get("https://a", publicTrust())
	g.Expect(get("https://a", publicTrust())).To(BeIdenticalTo(a))
	g.Expect(get("https://b", publicTrust())).NotTo(BeIdenticalTo(a))
	g.Expect(get("https://a", trust{pool: publicRoots(), key: [32]byte{1}})).NotTo(BeIdenticalTo(a))
	g.Expect(all.byKey).To(HaveLen(3))
	all.keep(map[*link]bool{a: true, nil: true})
	g.Expect(all.byKey).To(HaveLen(1))
	g.Expect(get("https://a", publicTrust())).To(BeIdenticalTo(a))
}
