package keystore

import (
	"bytes"
	"crypto"
	"crypto/sha3"
	"crypto/x509"
	"fmt"
	"io"
	"time"

	jks "github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Parts are what a key store is made from.
type Parts struct {
	// PrivateKey in PEM; nil makes a trust store.
	PrivateKey *string
	// Certificates in PEM, any number in each text.
	Certificates []string
	Password     string
	// Alias of the key, or what begins those of the certificates in a trust store; empty for ours.
	Alias string
}

const (
	defaultAlias      = "key"
	defaultTrustAlias = "ca"
)

// Write returns a key store. Equal parts make equal bytes, or each refresh of a volume would be a change of the file.
func Write(format v1alpha1.KeystoreFormat, parts Parts) ([]byte, error) {
	if err := checkPassword(parts.Password); err != nil {
		return nil, err
	}
	certificates, err := parseCertificates(parts.Certificates)
	if err != nil {
		return nil, err
	}
	store := store{certificates: certificates, password: parts.Password, alias: parts.Alias}
	if parts.PrivateKey != nil {
		if store.key, err = parseKey(*parts.PrivateKey); err != nil {
			return nil, err
		}
		if err := checkChain(store.key, certificates); err != nil {
			return nil, err
		}
	}
	var content []byte
	switch format {
	case v1alpha1.KeystoreFormatPKCS12:
		content, err = store.pkcs12()
	case v1alpha1.KeystoreFormatJKS:
		content, err = store.jks()
	default:
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "keystore.format is unknown")
	}
	if err != nil { // the libraries' own errors may quote what they were given
		return nil, wrong("keystore", "a store of this format cannot be made from its key and certificates", "look at their algorithms")
	}
	return content, nil
}

type store struct {
	key             crypto.Signer
	certificates    []*x509.Certificate
	password, alias string
}

// salts is what stands in the place of randomness: salts and initialisation vectors need to be different for different
// content, and not secret. So they come from the content. The password is no part of it: a salt that was derived from
// it would tell, without the work that the format demands for each guess, whether a guess is right.
func (s store) salts(format string) (io.Reader, error) {
	stream := sha3.NewSHAKE256()
	_, _ = io.WriteString(stream, "sallyport key store "+format+"\x00"+s.alias+"\x00")
	if s.key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(s.key)
		if err != nil {
			return nil, err
		}
		_, _ = fmt.Fprintf(stream, "%d ", len(der))
		_, _ = stream.Write(der)
	}
	for _, certificate := range s.certificates {
		_, _ = stream.Write(certificate.Raw)
	}
	return stream, nil
}

func (s store) pkcs12() ([]byte, error) {
	salts, err := s.salts("PKCS12")
	if err != nil {
		return nil, err
	}
	encoder := pkcs12.Modern2023.WithRand(salts)
	if s.key != nil {
		return encoder.Encode(s.key, s.certificates[0], s.certificates[1:], s.password)
	}
	entries := make([]pkcs12.TrustStoreEntry, len(s.certificates))
	for i, certificate := range s.certificates {
		entries[i] = pkcs12.TrustStoreEntry{Cert: certificate, FriendlyName: s.trustAlias(i)}
	}
	return encoder.EncodeTrustStoreEntries(entries, s.password)
}

func (s store) jks() ([]byte, error) {
	salts, err := s.salts("JKS")
	if err != nil {
		return nil, err
	}
	keyStore := jks.New(jks.WithOrderedAliases(), jks.WithCustomRandomNumberGenerator(salts))
	chain := make([]jks.Certificate, len(s.certificates))
	for i, certificate := range s.certificates {
		chain[i] = jks.Certificate{Type: "X509", Content: certificate.Raw}
	}
	if s.key != nil {
		var der []byte
		if der, err = x509.MarshalPKCS8PrivateKey(s.key); err != nil {
			return nil, err
		}
		entry := jks.PrivateKeyEntry{CreationTime: s.created(0), PrivateKey: der, CertificateChain: chain}
		if err := keyStore.SetPrivateKeyEntry(orDefault(s.alias, defaultAlias), entry, []byte(s.password)); err != nil {
			return nil, err
		}
	} else {
		for i, certificate := range chain {
			entry := jks.TrustedCertificateEntry{CreationTime: s.created(i), Certificate: certificate}
			if err := keyStore.SetTrustedCertificateEntry(s.trustAlias(i), entry); err != nil {
				return nil, err
			}
		}
	}
	var content bytes.Buffer
	err = keyStore.Store(&content, []byte(s.password))
	return content.Bytes(), err
}

// created is a time that an entry must have, and that is the same for the same certificate.
func (s store) created(i int) time.Time { return s.certificates[i].NotBefore }

func (s store) trustAlias(i int) string {
	return fmt.Sprintf("%s-%d", orDefault(s.alias, defaultTrustAlias), i+1)
}

func orDefault(alias, other string) string {
	if alias == "" {
		return other
	}
	return alias
}
