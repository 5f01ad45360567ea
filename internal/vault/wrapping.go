package vault

import (
	"context"
	"net/http"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// CheckWrapped asks Vault whether a response-wrapping token can still be unwrapped, without doing so. A fault WrappingTokenInvalid says
// that it cannot. Source: POST sys/wrapping/lookup.
func (s *Session) CheckWrapped(ctx context.Context, wrapping string) error {
	return s.do(ctx, func(ctx context.Context, current *identity) error {
		_, err := s.wrappingCall(ctx, current, "lookup", wrapping)
		return err
	})
}

// Unwrap returns what a response-wrapping token holds, and uses the token up. Source: POST sys/wrapping/unwrap. A KV version 2 answer is
// reduced to the secret's own data. It is sent at most once; if OutcomeUnknown(err), the token may be used up.
func (s *Session) Unwrap(ctx context.Context, wrapping string) (*Secret, error) {
	var secret *Secret
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		a, err := s.wrappingCall(ctx, current, "unwrap", wrapping)
		if err != nil {
			return err
		}
		secret = &Secret{Path: "sys/wrapping/unwrap", RequestID: a.RequestID, Data: a.Data}
		if inner, isVersioned := a.Data["data"].(map[string]any); isVersioned && a.Data["metadata"] != nil {
			secret.Data = inner
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return secret, nil
}

func (s *Session) wrappingCall(ctx context.Context, current *identity, action, wrapping string) (*answer, error) {
	r := request{
		method: http.MethodPost, path: "sys/wrapping/" + action, body: map[string]any{"token": wrapping},
		token: &current.token, capability: `"update"`, as: s.as(),
	}
	a, err := current.link.call(ctx, r)
	if a != nil && a.status == http.StatusBadRequest {
		return nil, fault.Terminal(v1alpha1.ReasonWrappingTokenInvalid,
			"%s → %d the wrapping token is unknown, expired or used already (%s); have a new one made, and see who used this one if it was not you",
			r, a.status, r.as)
	}
	return a, err
}

// WrappedToken is a response-wrapping token. It redacts itself; Reveal is the one way to it.
type WrappedToken struct {
	token
	// TTL from now on.
	TTL time.Duration
}

// Reveal returns the token.
func (w WrappedToken) Reveal() string { return w.reveal() }

// Wrap has Vault keep data until somebody unwraps it with the token that is returned. Source: POST sys/wrapping/wrap.
func (s *Session) Wrap(ctx context.Context, data map[string]any, ttl time.Duration) (WrappedToken, error) {
	var wrapped WrappedToken
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		r := request{
			method: http.MethodPost, path: "sys/wrapping/wrap", body: data, wrapTTL: ttl.String(),
			token: &current.token, capability: `"update"`, as: s.as(),
		}
		a, err := current.link.call(ctx, r)
		if err != nil {
			return err
		}
		if a.WrapInfo == nil || a.WrapInfo.Token == "" {
			return fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s → %d without a token (%s)", r, a.status, r.as)
		}
		wrapped = WrappedToken{token: newToken(a.WrapInfo.Token), TTL: time.Duration(a.WrapInfo.TTL) * time.Second}
		return nil
	})
	return wrapped, err
}

// GeneratePassword has a password policy of Vault's make a value. Source: GET sys/policies/password/name/generate.
func (s *Session) GeneratePassword(ctx context.Context, policy string) (string, error) {
	secret, err := s.ReadPath(ctx, "sys/policies/password/"+policy+"/generate")
	if err != nil {
		return "", err
	}
	password, _ := secret.Data["password"].(string)
	if password == "" {
		return "", fault.Waiting(v1alpha1.ReasonInvalidRequest, "GET %s → 200 without a password (%s)", secret.Path, s.as())
	}
	return password, nil
}
