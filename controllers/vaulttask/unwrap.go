package vaulttask

import (
	"context"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

// checkWrapped looks the wrapping token up, so that a dead one is told before anything is claimed.
func (a *attempt) checkWrapped(ctx context.Context, to *target) error {
	token, err := a.wrappingToken(ctx)
	if err != nil {
		return err
	}
	return secrets.CheckWrapped(ctx, to.session, token)
}

// unwrap adds what the wrapping token holds to data, under the claim. The token is used up by it, so that its content
// is kept in memory until the run ends.
func (a *attempt) unwrap(ctx context.Context, to *target, data map[string]any) error {
	if a.task.Spec.Unwrap == nil {
		return nil
	}
	content := a.state.Unwrapped()
	if content == nil {
		token, err := a.wrappingToken(ctx)
		if err != nil {
			return err
		}
		a.state.Calling(nil) // whether the token is used up is as uncertain as a write
		secret, err := secrets.Unwrap(ctx, to.session, token)
		if err != nil {
			return err
		}
		content = secret.Data
		a.state.KeepUnwrapped(content)
	}
	content = maps.Clone(content)
	for key := range data { // the second time round, in the same attempt
		delete(content, key)
	}
	maps.Copy(data, content)
	return fits(data)
}

// unwrapAgain is unwrap for a run that is taken up: lost says that an earlier attempt used the token up, and nobody has
// what it held.
func (a *attempt) unwrapAgain(ctx context.Context, to *target, data map[string]any) (lost bool, err error) {
	err = a.unwrap(ctx, to, data)
	if fault.Is(err, v1alpha1.ReasonWrappingTokenInvalid) {
		return true, nil
	}
	return false, err
}

// wrappingToken reads the wrapping token from its Secret.
func (a *attempt) wrappingToken(ctx context.Context) (string, error) {
	ref := a.task.Spec.Unwrap.SecretKeyRef
	secret := &corev1.Secret{}
	shown, err := a.getOwn(ctx, a.task, "Secret", ref.Name, secret)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(secret.Data[ref.Key]))
	if token == "" {
		return "", fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s has nothing at the key %q (spec.unwrap)", shown, ref.Key).
			WithRemedy("put a wrapping token there")
	}
	return token, nil
}
