package client

import (
	"context"
	"errors"
	"os"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// bearer is the plugin's own token as gRPC credentials.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{resolverv1.AuthorizationKey: "Bearer " + string(b)}, nil
}

// RequireTransportSecurity keeps the token from ever being sent in the clear.
func (b bearer) RequireTransportSecurity() bool { return true }

func (b bearer) String() string   { return "[node token]" }
func (b bearer) GoString() string { return b.String() }
func (b bearer) MarshalLog() any  { return b.String() }

// readToken reads the plugin's token.
func readToken(file string) (bearer, error) {
	content, err := os.ReadFile(file)
	token := strings.TrimSpace(string(content))
	if err == nil && token == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fault.Transient(v1alpha1.ReasonInternal, "the node plugin's own token cannot be read: %v", err)
	}
	return bearer(token), nil
}
