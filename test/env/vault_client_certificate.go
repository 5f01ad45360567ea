package env

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"
)

// WantClientCertificate has a proxy in front of Vault talk only to clients with a certificate of Vault's own authority.
func (v *Vault) WantClientCertificate(config *tls.Config) {
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = v.pki.client().RootCAs
}

// ClientCertificate returns a PEM client certificate of Vault's own authority, valid for a day, and its key.
func (v *Vault) ClientCertificate(commonName string) (certificate, key string) {
	return v.ClientCertificateUntil(commonName, time.Now().Add(24*time.Hour))
}

// ClientCertificateUntil is ClientCertificate with another end. It was valid for the hour before now.
func (v *Vault) ClientCertificateUntil(commonName string, end time.Time) (certificate, key string) {
	clientKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     end,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, v.pki.parsed, &clientKey.PublicKey, v.pki.key)
	must(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(clientKey)
	must(err)
	return encodePEM("CERTIFICATE", der), encodePEM("PRIVATE KEY", keyDER)
}
