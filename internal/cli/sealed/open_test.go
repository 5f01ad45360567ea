package sealed

import (
	"bytes"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	. "github.com/onsi/gomega"
)

func seal(t *testing.T, to age.Recipient, plain string) string {
	t.Helper()
	g := NewWithT(t)
	var result bytes.Buffer
	armored := armor.NewWriter(&result)
	writer, err := age.Encrypt(armored, to)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = writer.Write([]byte(plain))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(writer.Close()).To(Succeed())
	g.Expect(armored.Close()).To(Succeed())
	return result.String()
}

func TestOpen(t *testing.T) {
	g := NewWithT(t)
	key, err := age.GenerateX25519Identity()
	g.Expect(err).NotTo(HaveOccurred())
	other, err := age.GenerateX25519Identity()
	g.Expect(err).NotTo(HaveOccurred())
	identities, err := Identities([]byte("# created: now\n" + key.String() + "\n"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(Recipients(identities)).To(ConsistOf(key.Recipient().String()))

	result := seal(t, key.Recipient(), `{"password":"p"}`)
	g.Expect(Open(result, identities)).To(Equal(map[string]any{"password": "p"}))
	_, err = Open(result, []age.Identity{other})
	g.Expect(err).To(MatchError(ErrOtherKey))
	for sentence, broken := range map[string]string{
		"no sealed result":   "password",
		"no JSON object":     seal(t, key.Recipient(), "password"),
		"it was changed":     seal(t, key.Recipient(), strings.Repeat("x", 70000))[:90000] + "\n" + armor.Footer,
		"it is no sealed":    "",
		"no sealed result: ": armor.Header,
	} {
		_, err = Open(broken, identities)
		g.Expect(err).To(MatchError(ContainSubstring(sentence)))
		g.Expect(err.Error()).NotTo(ContainSubstring("password"), "no value shows")
	}
	_, err = Identities([]byte(key.Recipient().String()))
	g.Expect(err).To(MatchError(ContainSubstring("holds no age key")))
	_, err = Identities([]byte(armor.Header))
	g.Expect(err).To(MatchError(ContainSubstring("encrypted with a passphrase")))
}
