package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	testingclock "k8s.io/utils/clock/testing"
)

func TestTheNextCertificateIsPublishedBeforeItIsServed(t *testing.T) {
	g := NewWithT(t)
	clk := testingclock.NewFakePassiveClock(time.Now())
	c, err := NewServingCertificate("sallyport-controller-0", net.ParseIP("10.1.2.3"), clk)
	g.Expect(err).NotTo(HaveOccurred())
	first := certificates(t, c)
	g.Expect(first).To(HaveLen(1))
	g.Expect(first[0].VerifyHostname("10.1.2.3")).To(Succeed())
	g.Expect(first[0].NotAfter).To(BeTemporally("~", clk.Now().Add(24*time.Hour), time.Second))
	g.Expect(c.Rotate()).To(BeFalse(), "a new certificate has time")

	clk.SetTime(clk.Now().Add(certificateLife/2 + time.Second))
	g.Expect(c.Rotate()).To(BeTrue())
	both := certificates(t, c)
	g.Expect(both).To(HaveLen(2))
	g.Expect(both[0].Equal(first[0])).To(BeTrue())
	g.Expect(serving(t, c).Equal(first[0])).To(BeTrue(), "nodes may not know the next one yet")

	g.Expect(c.Rotate()).To(BeTrue())
	g.Expect(certificates(t, c)).To(HaveLen(1))
	g.Expect(serving(t, c).Equal(both[1])).To(BeTrue())
	g.Expect(both[1].PublicKey).NotTo(Equal(first[0].PublicKey), "the key is another, too")
}

func certificates(t *testing.T, c *ServingCertificate) []*x509.Certificate {
	t.Helper()
	var found []*x509.Certificate
	for rest := []byte(c.Bundle()); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return found
		}
		NewWithT(t).Expect(block.Type).To(Equal("CERTIFICATE"), "nothing else is ever published")
		certificate, err := x509.ParseCertificate(block.Bytes)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		found = append(found, certificate)
	}
}

func serving(t *testing.T, c *ServingCertificate) *x509.Certificate {
	t.Helper()
	certificate, err := c.TLSConfig().GetCertificate(&tls.ClientHelloInfo{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return certificate.Leaf
}
