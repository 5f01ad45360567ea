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
	redaction.Check(t, map[string]any{
		"credential":            NewCredential(secret),
		"login request":         loginRequest{path: "x", body: body},
		"login result":          &LoginResult{Token: token},
		"login result by value": LoginResult{Token: token},
		"method":                &appRoleMethod{unwrapper: &unwrapper{opened: &unwrappedSecretID{secretID: token}}},
		"rejected login":        &RejectedError{fault.Transient("AuthFailed", "no"), true},
		"workload":              workload,
		"workload of a task":    &Workload{Namespace: "shop", ServiceAccount: "app", Task: "uid", Token: workload.Token},
		"workload identity":     identity,
	})
}
