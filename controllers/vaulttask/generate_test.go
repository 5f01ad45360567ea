package vaulttask

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestGeneratedValues(t *testing.T) {
	g := NewWithT(t)
	value, err := generate(context.Background(), nil, &v1alpha1.GeneratedValue{Key: "a"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(value).To(MatchRegexp("^[A-Za-z0-9]{32}$"))

	value, err = generate(context.Background(), nil,
		&v1alpha1.GeneratedValue{Key: "a", Length: new(int32(3000)), Charset: "aüß"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]rune(value)).To(HaveLen(3000))
	for _, character := range "aüß" { // far beyond chance: eight standard deviations
		g.Expect(strings.Count(value, string(character))).To(BeNumerically("~", 1000, 210))
	}
}

func TestACharsetHoldsEachCharacterOnce(t *testing.T) {
	g := NewWithT(t)
	_, err := generate(context.Background(), nil, &v1alpha1.GeneratedValue{Key: "a", Charset: "abca"})
	g.Expect(err).To(MatchError(ContainSubstring("holds 'a' twice")))
	_, err = generate(context.Background(), nil, &v1alpha1.GeneratedValue{Key: "a", Charset: "ab\n"})
	g.Expect(err).To(MatchError(ContainSubstring("cannot be printed")))
}

func TestASealedResultOpensWithItsKeyOnly(t *testing.T) {
	g := NewWithT(t)
	key, err := age.GenerateX25519Identity()
	g.Expect(err).NotTo(HaveOccurred())
	sealed, err := seal(key.Recipient(), map[string]any{"password": "tiger"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(sealed).To(HavePrefix("-----BEGIN AGE ENCRYPTED FILE-----"))
	_, err = age.Decrypt(armor.NewReader(strings.NewReader(sealed)), key)
	g.Expect(err).NotTo(HaveOccurred())
	other, err := age.GenerateX25519Identity()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = age.Decrypt(armor.NewReader(strings.NewReader(sealed)), other)
	g.Expect(err).To(HaveOccurred())

	_, err = seal(key.Recipient(), map[string]any{"a": strings.Repeat("x", maxSealed)})
	g.Expect(fault.Is(err, v1alpha1.ReasonTooLarge)).To(BeTrue())
}

func TestARecipientThatIsNone(t *testing.T) {
	g := NewWithT(t)
	_, err := recipientOf(&v1alpha1.TaskResultRequest{SealTo: "age1" + strings.Repeat("q", 58)})
	g.Expect(fault.Is(err, v1alpha1.ReasonInvalidSpec)).To(BeTrue())
	g.Expect(err).To(MatchError(ContainSubstring("as age-keygen prints it")))
}

func TestAnOutcomeShowsNoValues(t *testing.T) {
	g := NewWithT(t)
	out := &outcome{result: &v1alpha1.TaskResult{Path: "secret/data/a"}, values: map[string]any{"a": "tiger"}}
	g.Expect(fmt.Sprintf("%v %+v %s", out, out, out)).NotTo(ContainSubstring("tiger"))
}

func TestDataThatVaultWouldNotStore(t *testing.T) {
	g := NewWithT(t)
	g.Expect(fits(map[string]any{"a": strings.Repeat("x", 1<<19)})).To(Succeed())
	g.Expect(fault.Is(fits(map[string]any{"a": strings.Repeat("x", 1<<20)}), v1alpha1.ReasonTooLarge)).To(BeTrue())
}

func TestAKeyMayComeFromOneSourceOnly(t *testing.T) {
	g := NewWithT(t)
	data := map[string]any{"a": "1"}
	g.Expect(merge(data, map[string]any{"b": "2"}, "spec.dataFrom")).To(Succeed())
	g.Expect(merge(data, map[string]any{"a": "3"}, "spec.generate")).To(MatchError(ContainSubstring(`the key "a" is given by another source`)))
}
