package vaulttask

import (
	"context"
	"crypto/rand"
	"math/big"
	"strings"
	"unicode"

	"k8s.io/utils/ptr"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
)

const (
	defaultLength  = 32
	defaultCharset = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// generate makes a value by chance, or has Vault make it by a password policy.
func generate(ctx context.Context, session *session.Session, spec *v1alpha1.GeneratedValue) (string, error) {
	if spec.PasswordPolicy != "" {
		return secrets.GeneratePassword(ctx, session, spec.PasswordPolicy)
	}
	charset := spec.Charset
	if charset == "" {
		charset = defaultCharset
	}
	characters := []rune(charset)
	for i, character := range characters {
		switch {
		case !unicode.IsPrint(character):
			return "", fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.generate, key %q: charset holds a character that cannot be printed",
				spec.Key).WithRemedy("leave it out")
		case strings.ContainsRune(string(characters[:i]), character):
			return "", fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.generate, key %q: charset holds %q twice, which would make it likelier than the others",
				spec.Key, character).WithRemedy("write each character once")
		}
	}
	return random(characters, int(ptr.Deref(spec.Length, defaultLength))), nil
}

// random returns characters that are chosen independently and all equally likely.
func random(characters []rune, length int) string {
	text := make([]rune, length)
	number := big.NewInt(int64(len(characters)))
	for i := range text {
		index, _ := rand.Int(rand.Reader, number) // unbiased; reading randomness never fails
		text[i] = characters[index.Int64()]
	}
	return string(text)
}
