package auth

import (
	"context"
	"testing"

	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/test/redaction"
)

func TestNothingPrintsSecrets(t *testing.T) {
	const secret = redaction.Secret
	token := transport.NewToken(secret)
	workload := &Workload{Token: func(context.Context, string) (string, error) { return secret, nil }}
	identity := NewWorkloadIdentity(workload)
	identity.Update(workload)
	body := func() map[string]string { return map[string]string{"password": secret} }
	one, all := &oneSecretID{opened: &unwrappedSecretID{secretID: token}}, NewSecretIDs()
	kept := &roleSecretIDs{ConnectionSecretIDs: all.Of("shop", "uid", "way"), mount: "approle", roleID: token}
	kept.keep(NewCredential(secret), secret, token)
	_, entry := kept.of(NewCredential(secret), kept.usable)
	redaction.Check(t, map[string]any{
		"credential":            NewCredential(secret),
		"login request":         loginRequest{path: "x", body: body},
		"login result":          &LoginResult{Token: token},
		"login result by value": LoginResult{Token: token},
		"method":                &appRoleMethod{unwrapper: &unwrapper{memory: one}},
		"method of Connection":  &appRoleMethod{unwrapper: &unwrapper{memory: kept}},
		"secret IDs":            all,
		"secret IDs of a role":  kept,
		"secret IDs in memory":  all.cache,
		"secret ID":             entry,
		"rejected login":        &RejectedError{fault.Transient("AuthFailed", "no"), true},
		"workload":              workload,
		"workload of a task":    &Workload{Namespace: "shop", ServiceAccount: "app", Task: "uid", Token: workload.Token},
		"workload identity":     identity,
	})
}
