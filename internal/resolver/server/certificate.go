package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// certificateLife is how long a certificate is valid; its key never leaves memory and is replaced at half of it.
	certificateLife = 24 * time.Hour
	// clockSkew lets nodes whose clock is behind accept a new certificate.
	clockSkew = 5 * time.Minute
)

// ServingCertificate is the TLS key pair of one replica, self-signed and rotated. The key is made in memory and never
// written anywhere; only the certificate is published.
type ServingCertificate struct {
	name  string
	ip    net.IP
	clock clock.PassiveClock

	mu      sync.Mutex
	serving *tls.Certificate
	next    *tls.Certificate
}

// NewServingCertificate makes the first key pair for a replica, named after its pod, that is reached at ip.
func NewServingCertificate(name string, ip net.IP, clk clock.PassiveClock) (*ServingCertificate, error) {
	c := &ServingCertificate{name: name, ip: ip, clock: clk}
	certificate, err := c.generate()
	if err != nil {
		return nil, err
	}
	c.serving = certificate
	return c, nil
}

// TLSConfig returns the server's side: TLS 1.3 with the certificate that is current at each handshake.
func (c *ServingCertificate) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.serving, nil
		},
	}
}

// Bundle returns what to publish: the certificate being served, and around a renewal the next one.
func (c *ServingCertificate) Bundle() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b bytes.Buffer
	for _, certificate := range []*tls.Certificate{c.serving, c.next} {
		if certificate != nil {
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}) // a buffer takes every write
		}
	}
	return b.String()
}

// Rotate moves the renewal on by one step and tells whether the bundle changed: at half a certificate's life a next one
// is made, to be published beside the current; at the following call, when nodes have seen it, it takes over.
func (c *ServingCertificate) Rotate() (changed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next != nil {
		c.serving, c.next = c.next, nil
		return true, nil
	}
	if c.clock.Now().Before(c.serving.Leaf.NotAfter.Add(-certificateLife / 2)) {
		return false, nil
	}
	c.next, err = c.generate()
	return err == nil, err
}

func (c *ServingCertificate) generate() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the resolver's key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making the resolver's certificate: %w", err)
	}
	now := c.clock.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: c.name},
		IPAddresses:           []net.IP{c.ip},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(certificateLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the resolver's certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making the resolver's certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
