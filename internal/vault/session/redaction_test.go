package session

import (
	"crypto/sha256"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/test/redaction"
)

func TestNothingPrintsSecrets(t *testing.T) {
	const secret = redaction.Secret
	token := transport.NewToken(secret)
	config := &v1alpha1.VaultConfig{}
	config.Spec.Auth.Token = &v1alpha1.TokenAuth{}
	config.Spec.URL = "https://vault"
	env := &environment{clock: clock.RealClock{}, source: auth.FromSpec, accounts: newAccounts(clock.RealClock{})}
	env.pool = transport.NewPool(0, env.clock, nil, nil)
	sessions := &Sessions{set: newSessionSet(env), ephemeral: newEphemeralPool(env)}
	session, err := newSession(env, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	sessions.set.byUID["uid"] = map[sessionKey]*Session{{}: session}
	session.holder.login = &login{
		token: token, credential: auth.NewCredential(secret), info: auth.TokenInfo{
			ExpireTime: time.Now(),
		}, ref: newTokenRef(),
	}
	rejected := &auth.RejectedError{Fault: fault.Transient("AuthFailed", "no"), Counted: true}
	session.holder.offers.reject(auth.NewCredential(secret), rejected)
	reader := inMemory(func() map[string]string { return map[string]string{"password": secret} })
	pool := sessions.ephemeral
	pool.byKey[[sha256.Size]byte{}] = &entry{
		own: newSessionSet(&environment{reader: reader, clock: clock.RealClock{}, pool: env.pool}), session: session, users: 1,
	}
	redaction.Check(t, map[string]any{
		"token holder":          session.holder,
		"login":                 session.holder.login,
		"login by value":        *session.holder.login,
		"session":               session,
		"sessions":              sessions,
		"session set":           sessions.set,
		"conn":                  &Conn{session: session, login: session.holder.login},
		"backoff":               session.holder.offers,
		"revocation":            revocation{token: token},
		"revocations":           &revocationQueue{lanes: map[revocationLane]*laneQueue{{}: {queue: []revocation{{token: token}}}}},
		"ephemeral sessions":    pool,
		"credentials in memory": reader,
	})
}
