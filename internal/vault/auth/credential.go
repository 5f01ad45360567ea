package auth

import (
	"context"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// readWord reads a secret text that is one word, such as a token: white space around it is left out, for kubectl create
// secret --from-file and most editors leave a line break at the end, and none may be in it.
func readWord(
	ctx context.Context, reader client.Reader, source Source, ref v1alpha1.SecretKeyReference, what string,
) (string, error) {
	value, err := transport.ReadSecretKey(ctx, reader, source.subject.Namespace, ref, source.subject.String())
	if err != nil {
		return "", err
	}
	value = strings.TrimSpace(value)
	if value == "" {
		return "", fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s is empty (%s)", source.key(ref), source.subject).
			WithRemedy("put a %s there", what)
	}
	// A token like that could not be sent as a header, and the error for that would print it.
	if !isWord(value) {
		return "", fault.Waiting(v1alpha1.ReasonInvalidSpec, "%s holds white space or characters that a %s cannot have (%s)",
			source.key(ref), what, source.subject).
			WithRemedy("put the %s alone there", strings.TrimPrefix(what, "Vault "))
	}
	return value, nil
}

func isWord(value string) bool {
	return value != "" && !strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}
