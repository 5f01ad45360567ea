// Package sealed opens the sealed result of a VaultTask.
package sealed

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// maxOpened bounds what is read of a sealed result; one holds 512 KiB.
const maxOpened = 4 << 20

// Identities reads the keys of a file as age-keygen writes it.
func Identities(keys []byte) ([]age.Identity, error) {
	text := string(keys)
	if strings.HasPrefix(text, "age-encryption.org/") || strings.Contains(text, armor.Header) {
		return nil, errors.New("the key file is encrypted with a passphrase: decrypt it first, age --decrypt key.age | kubectl sallyport open … -i -")
	}
	identities, err := age.ParseIdentities(bytes.NewReader(keys))
	if err != nil { // the error may quote a line
		return nil, errors.New("the key file holds no age key: it has lines that begin with AGE-SECRET-KEY-1, as age-keygen writes them")
	}
	return identities, nil
}

// Recipients are the public keys of identities.
func Recipients(identities []age.Identity) []string {
	var names []string
	for _, identity := range identities {
		if own, is := identity.(*age.X25519Identity); is {
			names = append(names, own.Recipient().String())
		}
	}
	return names
}

// ErrOtherKey says that a result is sealed to somebody else.
var ErrOtherKey = errors.New("the key does not open it")

// Open returns the values of a sealed result.
func Open(result string, identities []age.Identity) (map[string]any, error) {
	plain, err := age.Decrypt(armor.NewReader(strings.NewReader(strings.TrimSpace(result)+"\n")), identities...)
	if noMatch := (*age.NoIdentityMatchError)(nil); errors.As(err, &noMatch) {
		return nil, ErrOtherKey
	}
	if err != nil {
		return nil, errors.New("it is no sealed result: it begins with " + armor.Header)
	}
	content, err := io.ReadAll(io.LimitReader(plain, maxOpened))
	if err != nil {
		return nil, errors.New("it was changed after it was sealed")
	}
	values := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil { // the error may quote a value
		return nil, errors.New("what is sealed is no JSON object, and so no result of a VaultTask")
	}
	return values, nil
}
