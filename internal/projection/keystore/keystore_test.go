package keystore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	jks "github.com/pavlo-v-chernykh/keystore-go/v4"
	"software.sslmate.com/src/go-pkcs12"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

const password = "correct-horse"

// chain is a key with its certificate, and those that issued it, as PEM.
type chain struct {
	key                crypto.Signer
	pkcs8, leaf        string
	intermediate, root string
}

func newChain(t testing.TB, key crypto.Signer) chain {
	t.Helper()
	rootKey, rootCertificate, root := issue(t, "root", nil, nil, newKey(t))
	intermediateKey, intermediateCertificate, intermediate := issue(t, "intermediate", rootKey, rootCertificate, newKey(t))
	_, _, leaf := issue(t, "leaf", intermediateKey, intermediateCertificate, key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return chain{key: key, pkcs8: toPEM("PRIVATE KEY", der), leaf: leaf, intermediate: intermediate, root: root}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return key
}

func issue(t testing.TB, name string, byKey crypto.Signer, by *x509.Certificate, key crypto.Signer) (crypto.Signer, *x509.Certificate, string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: name != "leaf", BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name},
	}
	if by == nil {
		byKey, by = key, template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), byKey)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	certificate, err := x509.ParseCertificate(der)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return key, certificate, toPEM("CERTIFICATE", der)
}

func toPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestStoresAreReadBackAndAreTheSameEachTime(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, key := range map[string]crypto.Signer{"RSA": rsaKey, "ECDSA": newKey(t), "Ed25519": edKey} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := newChain(t, key)
			parts := Parts{PrivateKey: &c.pkcs8, Certificates: []string{c.leaf, c.intermediate + "\n" + c.root}, Password: password, Alias: "shop"}
			for _, format := range []v1alpha1.KeystoreFormat{v1alpha1.KeystoreFormatPKCS12, v1alpha1.KeystoreFormatJKS} {
				content, err := Write(format, parts)
				g.Expect(err).NotTo(HaveOccurred())
				again, err := Write(format, parts)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(again).To(Equal(content), "else each refresh were a change")
				other := parts
				other.Password = "another"
				changed, err := Write(format, other)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(changed).NotTo(Equal(content))
				readKey, certificates := read(g, format, content)
				g.Expect(readKey.(interface{ Equal(crypto.PrivateKey) bool }).Equal(key)).To(BeTrue())
				g.Expect(certificates).To(Equal(3))
			}
		})
	}
}

func read(g *WithT, format v1alpha1.KeystoreFormat, content []byte) (key any, certificates int) {
	if format == v1alpha1.KeystoreFormatPKCS12 {
		found, _, issuers, err := pkcs12.DecodeChain(content, password)
		g.Expect(err).NotTo(HaveOccurred())
		return found, 1 + len(issuers)
	}
	store := jks.New()
	g.Expect(store.Load(bytes.NewReader(content), []byte(password))).To(Succeed())
	entry, err := store.GetPrivateKeyEntry("shop", []byte(password))
	g.Expect(err).NotTo(HaveOccurred())
	key, err = x509.ParsePKCS8PrivateKey(entry.PrivateKey)
	g.Expect(err).NotTo(HaveOccurred())
	return key, len(entry.CertificateChain)
}

func TestTrustStoresHoldEachCertificateOnce(t *testing.T) {
	g := NewWithT(t)
	c := newChain(t, newKey(t))
	parts := Parts{Certificates: []string{c.root + c.intermediate, c.root}, Password: password}
	content, err := Write(v1alpha1.KeystoreFormatPKCS12, parts)
	g.Expect(err).NotTo(HaveOccurred())
	certificates, err := pkcs12.DecodeTrustStore(content, password)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(certificates).To(HaveLen(2))
	content, err = Write(v1alpha1.KeystoreFormatJKS, parts)
	g.Expect(err).NotTo(HaveOccurred())
	store := jks.New(jks.WithOrderedAliases())
	g.Expect(store.Load(bytes.NewReader(content), []byte(password))).To(Succeed())
	g.Expect(store.Aliases()).To(Equal([]string{"ca-1", "ca-2"}))
}

// TestOtherProgramsReadThem asks those that are there.
func TestOtherProgramsReadThem(t *testing.T) {
	c := newChain(t, newKey(t))
	parts := Parts{PrivateKey: &c.pkcs8, Certificates: []string{c.leaf, c.intermediate, c.root}, Password: password}
	trusted := Parts{Certificates: []string{c.root}, Password: password}
	for name, row := range map[string]struct {
		format   v1alpha1.KeystoreFormat
		parts    Parts
		program  string
		args     []string
		expected []string
	}{
		"PKCS12 by openssl": {v1alpha1.KeystoreFormatPKCS12, parts, "openssl",
			[]string{"pkcs12", "-passin", "pass:" + password, "-nodes", "-in"}, []string{"PRIVATE KEY", "leaf", "intermediate", "root"}},
		"PKCS12 by keytool": {v1alpha1.KeystoreFormatPKCS12, parts, "keytool",
			[]string{"-list", "-v", "-storetype", "PKCS12", "-storepass", password, "-keystore"}, []string{"PrivateKeyEntry", "chain length: 3", "CN=leaf"}},
		"JKS by keytool": {v1alpha1.KeystoreFormatJKS, parts, "keytool",
			[]string{"-list", "-v", "-storetype", "JKS", "-storepass", password, "-keystore"}, []string{"Alias name: key", "chain length: 3", "CN=leaf"}},
		"trusted PKCS12 by keytool": {v1alpha1.KeystoreFormatPKCS12, trusted, "keytool",
			[]string{"-list", "-storetype", "PKCS12", "-storepass", password, "-keystore"}, []string{"ca-1", "trustedCertEntry"}},
		"trusted JKS by keytool": {v1alpha1.KeystoreFormatJKS, trusted, "keytool",
			[]string{"-list", "-storetype", "JKS", "-storepass", password, "-keystore"}, []string{"ca-1", "trustedCertEntry"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			program, err := exec.LookPath(row.program)
			if err != nil {
				t.Skip("there is no " + row.program)
			}
			content, err := Write(row.format, row.parts)
			g.Expect(err).NotTo(HaveOccurred())
			path := filepath.Join(t.TempDir(), "store")
			g.Expect(os.WriteFile(path, content, 0o600)).To(Succeed())
			output, err := exec.CommandContext(t.Context(), program, append(row.args, path)...).CombinedOutput()
			g.Expect(err).NotTo(HaveOccurred(), string(output))
			for _, text := range row.expected {
				g.Expect(strings.ToLower(string(output))).To(ContainSubstring(strings.ToLower(text)))
			}
		})
	}
}

func TestKeysComeInEachFormThatThereIs(t *testing.T) {
	g := NewWithT(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	g.Expect(err).NotTo(HaveOccurred())
	c := newChain(t, key)
	pkcs1 := toPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
	bundle := "a comment\n" + pkcs1 + c.leaf
	for _, text := range []string{pkcs1, strings.ReplaceAll(pkcs1, "\n", "\r\n"), bundle} {
		_, err = Write(v1alpha1.KeystoreFormatPKCS12, Parts{PrivateKey: &text, Certificates: []string{bundle}, Password: password})
		g.Expect(err).NotTo(HaveOccurred())
	}
	curve, _ := newKey(t).(*ecdsa.PrivateKey)
	c = newChain(t, curve)
	sec1, err := x509.MarshalECPrivateKey(curve)
	g.Expect(err).NotTo(HaveOccurred())
	text := toPEM("EC PARAMETERS", []byte{1}) + toPEM("EC PRIVATE KEY", sec1)
	_, err = Write(v1alpha1.KeystoreFormatJKS, Parts{PrivateKey: &text, Certificates: []string{c.leaf}, Password: password})
	g.Expect(err).NotTo(HaveOccurred())
}

func TestPartsThatAreWrongSayWhichAndHowToCureThem(t *testing.T) {
	c, other := newChain(t, newKey(t)), newChain(t, newKey(t))
	for name, row := range map[string]struct {
		key          string
		certificates []string
		password     string
		sentence     string
	}{
		"no password":        {c.pkcs8, []string{c.leaf}, "", "keystore.password: it is empty; a key store needs a password"},
		"a password of euro": {c.pkcs8, []string{c.leaf}, "€", "keystore.password: it holds other characters than those of ASCII"},
		"no PEM":             {"correct-horse", []string{c.leaf}, password, "keystore.privateKey: there is no PEM, which begins with -----BEGIN; refer"},
		"an empty key":       {"", []string{c.leaf}, password, "keystore.privateKey: there is no PEM"},
		"a key that is cut off": {c.pkcs8[:len(c.pkcs8)/2], []string{c.leaf}, password,
			"keystore.privateKey: of 1 PEM blocks 1 cannot be read; they are cut off, or their line breaks are lost"},
		"a key without line breaks": {strings.ReplaceAll(c.pkcs8, "\n", " "), []string{c.leaf}, password, "their line breaks are lost"},
		"an encrypted key": {toPEM("ENCRYPTED PRIVATE KEY", []byte("x")), []string{c.leaf}, password,
			"keystore.privateKey: it is encrypted; keep it in Vault without a passphrase of its own"},
		"a key that was encrypted as it used to be": {"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\neHh4\n-----END RSA PRIVATE KEY-----\n",
			[]string{c.leaf}, password, "keystore.privateKey: it is encrypted"},
		"a key that is none":    {toPEM("PRIVATE KEY", []byte("x")), []string{c.leaf}, password, "keystore.privateKey: it cannot be read; use PKCS #8"},
		"a certificate as key":  {c.leaf, []string{c.leaf}, password, "keystore.privateKey: there is none in the PEM"},
		"two keys":              {c.pkcs8 + other.pkcs8, []string{c.leaf}, password, "keystore.privateKey: there is more than one"},
		"something else":        {toPEM("DH PARAMETERS", []byte("x")), []string{c.leaf}, password, "keystore.privateKey: there is a PEM block that is neither"},
		"a huge key":            {toPEM("PRIVATE KEY", make([]byte, maxKey+1)), []string{c.leaf}, password, "keystore.privateKey: it has more than 6144 bytes"},
		"a chain out of order":  {c.pkcs8, []string{c.root, c.intermediate, c.leaf}, password, "keystore.certificates: the first is not that of the private key; put it first"},
		"issuers out of order":  {c.pkcs8, []string{c.leaf, c.root, c.intermediate}, password, "keystore.certificates: number 2 did not issue the one before it; put that of the key first"},
		"another's certificate": {c.pkcs8, []string{other.leaf}, password, "keystore.certificates: the first is not that of the private key"},
		"a chain that is cut off": {c.pkcs8, []string{c.leaf + c.intermediate[:100]}, password,
			"keystore.certificates: of 2 PEM blocks 1 cannot be read; they are cut off"},
		"a certificate that is none": {c.pkcs8, []string{c.leaf + toPEM("CERTIFICATE", []byte("x"))}, password, "keystore.certificates: number 2 cannot be read"},
		"no certificates":            {c.pkcs8, []string{c.pkcs8}, password, "keystore.certificates: there is none in the PEM"},
		"a request":                  {c.pkcs8, []string{toPEM("CERTIFICATE REQUEST", []byte("x"))}, password, "keystore.certificates: there is a PEM block that is no certificate"},
		"too many":                   {c.pkcs8, []string{strings.Repeat("x", maxPEM+1)}, password, "keystore.certificates: they have more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for _, format := range []v1alpha1.KeystoreFormat{v1alpha1.KeystoreFormatPKCS12, v1alpha1.KeystoreFormatJKS} {
				_, err := Write(format, Parts{PrivateKey: &row.key, Certificates: row.certificates, Password: row.password})
				g.Expect(err).To(MatchError(ContainSubstring(row.sentence)))
				g.Expect(fault.Is(err, v1alpha1.ReasonNotRepresentable)).To(BeTrue())
				g.Expect(err.Error()).NotTo(ContainSubstring(password))
			}
		})
	}
}

func FuzzWrite(f *testing.F) {
	c := newChain(f, newKey(f))
	f.Add(c.pkcs8, c.leaf+c.intermediate, password)
	f.Add("-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----", "-----BEGIN CERTIFICATE-----", "x")
	f.Add(c.leaf, c.pkcs8, "\x00")
	f.Fuzz(func(t *testing.T, key, certificates, password string) {
		for _, format := range []v1alpha1.KeystoreFormat{v1alpha1.KeystoreFormatPKCS12, v1alpha1.KeystoreFormatJKS} {
			parts := Parts{PrivateKey: &key, Certificates: []string{certificates}, Password: password}
			content, err := Write(format, parts)
			if err != nil {
				if !fault.Is(err, v1alpha1.ReasonNotRepresentable) {
					t.Fatal(err)
				}
				continue
			}
			if again, err := Write(format, parts); err != nil || !bytes.Equal(again, content) {
				t.Fatalf("the same parts made another store: %v", err)
			}
		}
	})
}
