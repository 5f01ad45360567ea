package secrets

import (
	"context"
	"net/http"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/printable"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// CheckWrapped asks Vault whether a response-wrapping token can still be unwrapped, without doing so. A fault
// WrappingTokenInvalid says that it cannot. Source: POST sys/wrapping/lookup.
func CheckWrapped(ctx context.Context, s *session.Session, wrapping string) error {
	_, err := callWrapping(ctx, s, "lookup", wrapping)
	return err
}

// Unwrap returns what a response-wrapping token holds, and uses the token up. Source: POST sys/wrapping/unwrap. What KV
// version 2 answered is reduced to the secret's own data. It is sent at most once; if OutcomeUnknown(err), the token
// may be used up.
func Unwrap(ctx context.Context, s *session.Session, wrapping string) (*Secret, error) {
	response, err := callWrapping(ctx, s, "unwrap", wrapping)
	if err != nil {
		return nil, err
	}
	secret := &Secret{Path: "sys/wrapping/unwrap", RequestID: response.RequestID, Data: response.Data}
	if inner, isVersioned := response.Data["data"].(map[string]any); isVersioned && response.Data["metadata"] != nil {
		secret.Data = inner
	}
	return secret, nil
}

func callWrapping(ctx context.Context, s *session.Session, action, wrapping string) (*transport.Response, error) {
	r := transport.Request{
		Method: http.MethodPost, Path: "sys/wrapping/" + action, Body: map[string]any{
			"token": wrapping,
		}, Capability: `"update"`,
	}
	response, err := call(ctx, s, r)
	if err != nil && response.Is(http.StatusBadRequest) {
		return nil, fault.Terminal(v1alpha1.ReasonWrappingTokenInvalid, "%s → %d the wrapping token is unknown, expired or used already (%s)",
			r, response.Status, s.Actor()).
			WithRemedy("have a new one made, and see who used this one if it was not you")
	}
	return response, err
}

// WrappedToken is a response-wrapping token. It redacts itself; Reveal is the one way to it.
type WrappedToken struct {
	transport.Token
	// TTL from now on.
	TTL time.Duration
}

// Wrap has Vault keep data until somebody unwraps it with the token that is returned. Source: POST sys/wrapping/wrap.
func Wrap(ctx context.Context, s *session.Session, data map[string]any, ttl time.Duration) (WrappedToken, error) {
	r := transport.Request{
		Method: http.MethodPost, Path: "sys/wrapping/wrap", Body: data, WrapTTL: ttl.String(), Capability: `"update"`,
	}
	response, err := call(ctx, s, r)
	if err != nil {
		return WrappedToken{}, err
	}
	if response.WrapInfo == nil || response.WrapInfo.Token == "" ||
		printable.Text(response.WrapInfo.Token, maxToken) != response.WrapInfo.Token {
		return WrappedToken{}, fault.Waiting(
			v1alpha1.ReasonInvalidRequest, "%s → %d without a token (%s)", r, response.Status, s.Actor(),
		)
	}
	return WrappedToken{
		Token: transport.NewToken(response.WrapInfo.Token), TTL: time.Duration(response.WrapInfo.TTL) * time.Second,
	}, nil
}

// maxToken is what status has room for.
const maxToken = 4096

// GeneratePassword has a password policy of Vault's make a value. Source: GET sys/policies/password/name/generate.
func GeneratePassword(ctx context.Context, s *session.Session, policy string) (string, error) {
	secret, err := ReadPath(ctx, s, "sys/policies/password/"+policy+"/generate")
	if err != nil {
		return "", err
	}
	password, _ := secret.Data["password"].(string)
	if password == "" {
		return "", fault.Waiting(
			v1alpha1.ReasonInvalidRequest, "GET %s → 200 without a password (%s)", secret.Path, s.Actor(),
		)
	}
	return password, nil
}
