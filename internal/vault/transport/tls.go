package transport

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"sync"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// publicRoots are Mozilla's root certificates, compiled in. They are named explicitly instead of being registered as
// Go's fallback, so that neither the image's files nor SSL_CERT_FILE decide whom Sallyport trusts.
var publicRoots = sync.OnceValue(func() *x509.CertPool {
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		switch {
		case err != nil: // one that this Go version cannot read is one that it does not trust
		case root.Constraint != nil:
			pool.AddCertWithConstraint(certificate, root.Constraint)
		default:
			pool.AddCert(certificate)
		}
	}
	return pool
})

// Trust is a set of certificate authorities, and a key that is the same for the same set.
type Trust struct {
	pool *x509.CertPool
	key  [sha256.Size]byte
	// certificates is the PEM bundle, if it is no longer than maxKeptBundle; empty for the public authorities.
	certificates string
}

// maxKeptBundle bounds the PEM bundles that are kept with what was read from them, in bytes: a few authorities.
const maxKeptBundle = 8 << 10

// Certificates is the PEM bundle, empty for the public authorities. It is not known if it is long.
func (t Trust) Certificates() (bundle string, known bool) {
	return t.certificates, t.certificates != "" || t.key == [sha256.Size]byte{}
}

// newTrust reads a PEM bundle. It fails, with what is wrong, if there is no certificate in it or one that cannot be
// parsed: skipping that one, as crypto/x509 does, would only show later, as an unknown authority.
func newTrust(certificates string) (Trust, string) {
	pool, found := x509.NewCertPool(), false
	for rest := []byte(certificates); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Trust{}, "holds a certificate that cannot be parsed"
		}
		pool.AddCert(certificate)
		found = true
	}
	if !found {
		return Trust{}, "holds no PEM certificate"
	}
	trusted := Trust{pool: pool, key: sha256.Sum256([]byte(certificates))}
	if len(certificates) <= maxKeptBundle {
		trusted.certificates = certificates
	}
	return trusted, ""
}

// publicTrust is in the public authorities.
func publicTrust() Trust { return Trust{pool: publicRoots()} }

// ClientCertificate is one that is shown on the way to Vault, and a key that is the same for the same one.
type ClientCertificate struct {
	certificate tls.Certificate
	key         [sha256.Size]byte
}

// Format prints no key, for every verb.
func (c ClientCertificate) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, "client certificate [redacted]")
}

// NewClientCertificate reads a certificate with its chain, and its key. It says what is wrong, without quoting either.
func NewClientCertificate(certificate, key []byte) (*ClientCertificate, string) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, "holds no PEM certificate with the key that belongs to it"
	}
	digest := sha256.New()
	_, _ = digest.Write(certificate)
	_, _ = digest.Write([]byte{0}) // no PEM file holds one
	_, _ = digest.Write(key)
	return &ClientCertificate{certificate: pair, key: [sha256.Size]byte(digest.Sum(nil))}, ""
}
