package resolver

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

// Identity is the key pair of one replica. The key is made in memory and never written anywhere; only the certificate is
// published.
type Identity struct {
	name  string
	ip    net.IP
	clock clock.PassiveClock

	mu      sync.Mutex
	serving *tls.Certificate
	next    *tls.Certificate
}

// NewIdentity makes the first key pair for a replica, named after its pod, that is reached at ip.
func NewIdentity(name string, ip net.IP, clk clock.PassiveClock) (*Identity, error) {
	id := &Identity{name: name, ip: ip, clock: clk}
	certificate, err := id.generate()
	if err != nil {
		return nil, err
	}
	id.serving = certificate
	return id, nil
}

// TLSConfig returns the server's side: TLS 1.3 with the certificate that is current at each handshake.
func (id *Identity) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			id.mu.Lock()
			defer id.mu.Unlock()
			return id.serving, nil
		},
	}
}

// Bundle returns what to publish: the certificate being served, and around a renewal the next one.
func (id *Identity) Bundle() string {
	id.mu.Lock()
	defer id.mu.Unlock()
	var b bytes.Buffer
	for _, certificate := range []*tls.Certificate{id.serving, id.next} {
		if certificate != nil {
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}) // a buffer takes every write
		}
	}
	return b.String()
}

// Rotate moves the renewal on by one step and tells whether the bundle changed: at half a certificate's life a next one is
// made, to be published beside the current; at the following call, when nodes have seen it, it takes over.
func (id *Identity) Rotate() (changed bool, err error) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.next != nil {
		id.serving, id.next = id.next, nil
		return true, nil
	}
	if id.clock.Now().Before(id.serving.Leaf.NotAfter.Add(-certificateLife / 2)) {
		return false, nil
	}
	id.next, err = id.generate()
	return err == nil, err
}

func (id *Identity) generate() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the resolver's key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making the resolver's certificate: %w", err)
	}
	now := id.clock.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: id.name},
		IPAddresses:           []net.IP{id.ip},
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
