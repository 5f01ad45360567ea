package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// signer signs as `cosign sign-blob --key` does: ECDSA on P-256 over SHA-256. Signatures are deterministic (RFC 6979).
type signer struct{ key *ecdsa.PrivateKey }

// signingKey reads the key that SALLYPORT_SIGNING_KEY holds, or the file that it names; without it there is none.
func signingKey() (*signer, error) {
	value := os.Getenv("SALLYPORT_SIGNING_KEY")
	if value == "" {
		return nil, nil
	}
	content := []byte(value)
	if !strings.HasPrefix(value, "-----BEGIN") {
		var err error
		if content, err = os.ReadFile(value); err != nil {
			return nil, fmt.Errorf("SALLYPORT_SIGNING_KEY holds no PEM and names no file: %w", err)
		}
	}
	key, err := parseKey(content)
	if err != nil {
		return nil, fmt.Errorf("SALLYPORT_SIGNING_KEY: %w", err)
	}
	return &signer{key: key}, nil
}

func parseKey(content []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, errors.New("there is no PEM block")
	}
	der := block.Bytes
	switch block.Type {
	case "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY":
		var err error
		if der, err = encrypted.Decrypt(der, []byte(os.Getenv("COSIGN_PASSWORD"))); err != nil {
			return nil, errors.New("COSIGN_PASSWORD does not open it")
		}
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(der)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("it is no private key that cosign or openssl made")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("it is no ECDSA key on P-256; make one with: cosign generate-key-pair")
	}
	return key, nil
}

// sign returns the signature of a message, in base64.
func (s *signer) sign(message []byte) (string, error) {
	digest := sha256.Sum256(message)
	signature, err := s.key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

// signFile writes NAME.sig beside a file, and the public key.
func (s *signer) signFile(path, dir string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	signature, err := s.sign(content)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".sig", []byte(signature+"\n"), 0o644); err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	return os.WriteFile(filepath.Join(dir, "cosign.pub"), block, 0o644)
}
