package secrets

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
)

func TestWhatEndsWithoutALeaseSaysWhen(t *testing.T) {
	g := NewWithT(t)
	now := time.Now().Truncate(time.Second)
	end, later := now.Add(90*time.Second), now.Add(time.Hour)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end},
		&x509.Certificate{}, public, private)
	g.Expect(err).NotTo(HaveOccurred())
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	signer, err := ssh.NewSignerFromKey(private)
	g.Expect(err).NotTo(HaveOccurred())
	signed := func(until uint64) string {
		c := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.UserCert, ValidBefore: until}
		g.Expect(c.SignCert(rand.Reader, signer)).To(Succeed())
		return string(ssh.MarshalAuthorizedKey(c))
	}
	number := func(at time.Time) json.Number { return json.Number(big.NewInt(at.Unix()).String()) }
	for name, row := range map[string]struct {
		data map[string]any
		want time.Time
	}{
		"pki/issue":                {map[string]any{"certificate": certificate, "expiration": number(end)}, end},
		"a certificate alone":      {map[string]any{"certificate": certificate}, end},
		"one in DER":               {map[string]any{"certificate": base64.StdEncoding.EncodeToString(der)}, end},
		"the earlier one counts":   {map[string]any{"certificate": certificate, "expiration": number(later)}, end},
		"ssh/sign":                 {map[string]any{"signed_key": signed(uint64(end.Unix()))}, end},
		"ssh/sign without an end":  {map[string]any{"signed_key": signed(ssh.CertTimeInfinity)}, time.Time{}},
		"beyond any time":          {map[string]any{"signed_key": signed(1 << 63)}, time.Time{}},
		"a public key":             {map[string]any{"signed_key": string(ssh.MarshalAuthorizedKey(signer.PublicKey()))}, time.Time{}},
		"gcp's token":              {map[string]any{"token": "t", "token_ttl": 3599, "expires_at_seconds": number(end)}, end},
		"what is over":             {map[string]any{"expiration": number(now)}, time.Time{}},
		"nothing of the kind":      {map[string]any{"ciphertext": "x"}, time.Time{}},
		"certificate that is none": {map[string]any{"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, time.Time{}},
		"values of other types":    {map[string]any{"certificate": 1, "signed_key": []any{}, "expiration": "soon"}, time.Time{}},
	} {
		g.Expect(endOf(row.data, now).Unix()).To(Equal(row.want.Unix()), name)
	}
}
