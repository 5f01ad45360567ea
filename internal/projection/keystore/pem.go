package keystore

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

const (
	// maxPEM bounds what certificates have together, and maxKey a private key: RSA with 8192 bits fits. The work for
	// larger ones is out of proportion.
	maxPEM = 1 << 20
	maxKey = 6 << 10

	pemBegin       = "-----BEGIN "
	typeCert       = "CERTIFICATE"
	typeParameters = "EC PARAMETERS"
	suffixKey      = "PRIVATE KEY"
	typeEncrypted  = "ENCRYPTED PRIVATE KEY"

	fieldKey          = "keystore.privateKey"
	fieldCertificates = "keystore.certificates"
	fieldPassword     = "keystore.password"
)

// wrong is the fault of a part. It is waiting: another content of Vault cures it as well as an edit.
func wrong(field, problem, remedy string) *fault.Fault {
	return fault.Waiting(v1alpha1.ReasonNotRepresentable, "%s", problem).OnField("%s:", field).WithRemedy("%s", remedy)
}

// checkPassword refuses what programs read in different ways.
func checkPassword(password string) error {
	if password == "" {
		return wrong(fieldPassword, "it is empty", "a key store needs a password: refer to one that is not")
	}
	for _, character := range password {
		if character < ' ' || character > '~' {
			return wrong(fieldPassword, "it holds other characters than those of ASCII that can be printed", "use another one: programs encode others differently")
		}
	}
	return nil
}

// blocks returns the PEM blocks of a text. What stands between them is a comment.
func blocks(field, text string) ([]*pem.Block, error) {
	var found []*pem.Block
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		found = append(found, block)
	}
	switch begun := strings.Count(text, pemBegin); {
	case begun == 0:
		return nil, wrong(field, "there is no PEM, which begins with "+strings.TrimSpace(pemBegin), "refer to the PEM itself, with its line breaks")
	case begun != len(found):
		return nil, wrong(field, fmt.Sprintf("of %d PEM blocks %d cannot be read", begun, begun-len(found)),
			"they are cut off, or their line breaks are lost: write them to Vault again")
	}
	return found, nil
}

func parseKey(text string) (crypto.Signer, error) {
	if len(text) > maxPEM {
		return nil, wrong(fieldKey, fmt.Sprintf("it has more than %d bytes", maxPEM), "refer to the key alone")
	}
	found, err := blocks(fieldKey, text)
	if err != nil {
		return nil, err
	}
	var key crypto.Signer
	for _, block := range found {
		switch {
		case block.Type == typeEncrypted || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, wrong(fieldKey, "it is encrypted", "keep it in Vault without a passphrase of its own: the store has a password")
		case block.Type == typeCert, block.Type == typeParameters:
			continue
		case !strings.HasSuffix(block.Type, suffixKey):
			return nil, wrong(fieldKey, "there is a PEM block that is neither private key nor certificate", "leave it out")
		case len(block.Bytes) > maxKey:
			return nil, wrong(fieldKey, fmt.Sprintf("it has more than %d bytes", maxKey), "use a smaller key")
		case key != nil:
			return nil, wrong(fieldKey, "there is more than one", "one store has one key: leave the others out")
		}
		if key = keyOf(block.Bytes); key == nil {
			return nil, wrong(fieldKey, "it cannot be read", "use PKCS #8, PKCS #1 or SEC 1, with RSA, ECDSA or Ed25519")
		}
	}
	if key == nil {
		return nil, wrong(fieldKey, "there is none in the PEM", "refer to the private key, not to its certificate")
	}
	return key, nil
}

// keyOf returns the key in one of the forms that there are, whatever the PEM calls it; nil if it is none.
func keyOf(der []byte) crypto.Signer {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, _ := key.(crypto.Signer)
		return signer
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	return nil
}

// parseCertificates returns the certificates of all texts, each once. Private keys among them are left out, as engines
// that bundle both put them there.
func parseCertificates(texts []string) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	size := 0
	for _, text := range texts {
		if size += len(text); size > maxPEM {
			return nil, wrong(fieldCertificates, fmt.Sprintf("they have more than %d bytes", maxPEM), "use fewer")
		}
		found, err := blocks(fieldCertificates, text)
		if err != nil {
			return nil, err
		}
		for _, block := range found {
			switch {
			case strings.HasSuffix(block.Type, suffixKey), block.Type == typeParameters:
				continue
			case block.Type != typeCert:
				return nil, wrong(fieldCertificates, "there is a PEM block that is no certificate", "leave it out")
			}
			certificate, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				problem := fmt.Sprintf("number %d cannot be read", len(certificates)+1)
				return nil, wrong(fieldCertificates, problem, "write it to Vault again")
			}
			if !slices.ContainsFunc(certificates, certificate.Equal) {
				certificates = append(certificates, certificate)
			}
		}
	}
	if len(certificates) == 0 {
		return nil, wrong(fieldCertificates, "there is none in the PEM", "refer to certificates, not to their keys")
	}
	return certificates, nil
}

// checkChain makes sure that the first certificate is that of the key, and each further one the issuer of the one
// before: programs send the chain as it is in the store.
func checkChain(key crypto.Signer, certificates []*x509.Certificate) error {
	public, ok := certificates[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		return wrong(fieldCertificates, "the first is not that of the private key", "put it first, then each that issued the one before")
	}
	for i, certificate := range certificates[1:] {
		if !bytes.Equal(certificates[i].RawIssuer, certificate.RawSubject) {
			return wrong(fieldCertificates, fmt.Sprintf("number %d did not issue the one before it", i+2),
				"put that of the key first, then each that issued the one before; leave out others")
		}
	}
	return nil
}
