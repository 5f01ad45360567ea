package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// TestNothingPrintsSecrets prints what holds a token or a value in every way that a careless line of code could.
func TestNothingPrintsSecrets(t *testing.T) {
	const secret = "hvs.CAESIcanary"
	tok := newToken(secret)
	read := &Secret{Path: "secret/data/db", Version: 3, Data: map[string]any{"password": secret}}
	config := &v1alpha1.VaultConfig{}
	config.Spec.Auth.Token = &v1alpha1.TokenAuth{}
	config.Spec.URL = "https://vault"
	sessions := &Sessions{clock: clock.RealClock{}}
	session, err := newSession(sessions, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	session.identity = &identity{token: tok, credential: newCredential(secret), info: TokenInfo{ExpireTime: time.Now()}, usage: newUsage()}
	session.rejected = &rejection{err: &refusedLogin{fault.Transient("AuthFailed", "no"), true}}
	session.method = &appRoleMethod{unwrapped: &unwrapped{secretID: tok}}

	for name, thing := range map[string]any{
		"token":               tok,
		"pointer to token":    &tok,
		"unexported field":    struct{ hidden token }{tok},
		"map key":             map[string]token{"t": tok},
		"credential":          newCredential(secret),
		"identity":            session.identity,
		"identity by value":   *session.identity,
		"session":             session,
		"sessions":            sessions,
		"request":             request{path: "x", token: &tok},
		"answer":              &answer{Secret: vaultapi.Secret{Data: map[string]any{"a": secret}, Auth: &vaultapi.SecretAuth{ClientToken: secret}}},
		"answer to a login":   &answer{Auth: &authAnswer{SecretAuth: vaultapi.SecretAuth{ClientToken: secret}}},
		"request with a body": request{path: "x", body: map[string]string{"password": secret}},
		"attempt":             attempt{path: "x", body: func() map[string]string { return map[string]string{"password": secret} }},
		"grant":               &grant{token: tok},
		"grant by value":      grant{token: tok},
		"method":              session.method,
		"revocation":          revocation{token: tok},
		"revocations":         &revocations{queue: []revocation{{token: tok}}},
		"workload":            &Workload{Token: func(context.Context, string) (string, error) { return secret, nil }},
		"rejection":           session.rejected,
		"lent sessions": &lent{byKey: map[[32]byte]*loan{{}: {
			own: &Sessions{reader: inMemory(func() map[string]string { return map[string]string{"password": secret} }), clock: clock.RealClock{}}, session: session, users: 1,
		}}, refused: map[[32]byte]refusal{{}: {rejection: session.rejected}}},
		"credentials in memory":  inMemory(func() map[string]string { return map[string]string{"password": secret} }),
		"secret":                 read,
		"secret by value":        *read,
		"secret in a struct":     struct{ S *Secret }{read},
		"secrets":                []Secret{*read},
		"secret in an interface": any(read),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var texts []string
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
				texts = append(texts, fmt.Sprintf(verb, thing))
			}
			encoded, _ := json.Marshal(thing)
			texts = append(texts, string(encoded), fmt.Sprint(thing), fmt.Errorf("wrapped: %v", thing).Error())
			var log bytes.Buffer
			slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "thing", thing)
			slog.New(slog.NewTextHandler(&log, nil)).Info("x", "thing", thing)
			funcr.New(func(prefix, args string) { log.WriteString(prefix + args) }, funcr.Options{}).Info("x", "thing", thing)
			texts = append(texts, log.String())
			for _, text := range texts {
				g.Expect(strings.ToLower(text)).NotTo(ContainSubstring("canary"))
				g.Expect(strings.ToLower(text)).NotTo(ContainSubstring(fmt.Sprintf("%x", "canary")))
			}
		})
	}
	NewWithT(t).Expect(fmt.Sprintf("%+v", read)).To(Equal("secret/data/db version 3 [values redacted]"))
	NewWithT(t).Expect(fmt.Sprint(tok)).To(Equal("[redacted]"))
}
