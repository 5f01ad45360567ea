package secrets

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport.dev/sallyport/internal/vault/transport"
)

// What answers of engines other than KV say of themselves, in keys of their data. Seen in Vault 1.21: database
// (static-creds), ldap (static-cred), totp (code), gcp (token).
const (
	keyLastRotation = "last_vault_rotation"
	keyTTL          = "ttl"
	keyCode         = "code"
	keyTokenTTL     = "token_ttl"
	keyTokenEnd     = "expires_at_seconds"
)

// describeRole reads into a secret, from the answer of another engine than KV, when it was and will be changed, and
// what of it differs at each read. The ttl of a static role counts down to its rotation; elsewhere that is a setting.
func describeRole(s *Secret, path string) {
	if rotated := transport.Timestamp(s.Data[keyLastRotation]); !rotated.IsZero() {
		s.CreatedTime, s.Fleeting = rotated, []string{keyTTL}
		if _, counts := s.Data[keyTTL]; counts {
			s.ChangesIn = max(transport.Seconds(s.Data[keyTTL]), 1)
		}
	}
	if strings.HasPrefix(path, keyCode+"/") {
		s.Fleeting = []string{keyCode}
	}
}

// isAccessToken tells whether an answer is a token of the cloud's that was made for this request and ends by itself,
// without a lease.
func isAccessToken(data map[string]any) bool {
	_, counts := data[keyTokenTTL]
	return counts && transport.Number(data[keyTokenEnd]) > 0
}

// Keys of answers that say when what was made without a lease ends. Sources: POST pki/issue/:role and pki/sign/:role,
// POST ssh/sign/:role and ssh/issue/:role, GET gcp/…/token.
const (
	keyExpiration  = "expiration"
	keyCertificate = "certificate"
	keySignedKey   = "signed_key"
)

// endOf returns when what an answer holds ends by itself: the earliest moment that the content tells. The zero time if
// it tells none, or one that is over, for making the like of it again and again would help nobody.
func endOf(data map[string]any, now time.Time) time.Time {
	ends := []time.Time{
		endOfCertificate(data[keyCertificate]), endOfSSHCertificate(data[keySignedKey]),
		unix(data[keyExpiration]), unix(data[keyTokenEnd]),
	}
	earliest := time.Time{}
	for _, end := range ends {
		if end.IsZero() {
			continue
		}
		if !end.After(now) {
			return time.Time{}
		}
		if earliest.IsZero() || end.Before(earliest) {
			earliest = end
		}
	}
	return earliest
}

func unix(value any) time.Time {
	seconds := transport.Number(value)
	if seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// endOfCertificate reads an X.509 certificate as Vault writes it: PEM, or DER in base64 (format=der).
func endOfCertificate(value any) time.Time {
	text, isText := value.(string)
	if !isText {
		return time.Time{}
	}
	var der []byte
	if block, _ := pem.Decode([]byte(text)); block != nil {
		der = block.Bytes
	} else if der, _ = base64.StdEncoding.DecodeString(text); der == nil {
		return time.Time{}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return time.Time{}
	}
	return certificate.NotAfter
}

func endOfSSHCertificate(value any) time.Time {
	text, isText := value.(string)
	if !isText {
		return time.Time{}
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return time.Time{}
	}
	certificate, isCertificate := key.(*ssh.Certificate)
	if !isCertificate || certificate.ValidBefore == ssh.CertTimeInfinity || certificate.ValidBefore > math.MaxInt64 {
		return time.Time{}
	}
	return time.Unix(int64(certificate.ValidBefore), 0)
}
