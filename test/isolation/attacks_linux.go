package isolation

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// Attacks are the rows of the matrix.
var Attacks = []Attack{
	{Name: "64 answers of 4 MiB for one Connection", Begin: largeAnswers},
	{Name: "100 VaultTasks at a Vault that hangs", Begin: hangingTasks},
	{Name: "100 VaultConfigs whose Vault answers health and then hangs", Begin: hangingConfigs},
}

// largeAnswers have trees of a hundred times their size, of which one key is used.
func largeAnswers(t *Tenant) (Proof, error) {
	const size = 4<<20 - 4096
	body := `{"request_id":"` + requestID + `","data":{"data":{"value":"x","z":[` + strings.TrimSuffix(strings.Repeat("{},", size/3), ",") +
		`]},"metadata":{"version":1,"created_time":"2026-01-01T00:00:00Z","deletion_time":"","destroyed":false}}}`
	s, err := t.serveAs(func(w http.ResponseWriter, _ *http.Request, path string) bool {
		if !strings.HasPrefix(path, "secret/data/") {
			return false
		}
		_, _ = w.Write([]byte(body))
		return true
	})
	if err != nil {
		return nil, err
	}
	secrets := make([]v1alpha1.VaultSecret, 64)
	for i := range secrets {
		secrets[i] = builder.VaultSecret(fmt.Sprintf("s%d", i), fmt.Sprintf("large/%d", i))
	}
	connection := builder.Connection(t.Namespace, "large", map[string]any{"value": "vault.secret(s0.value)"},
		builder.WithSecrets(secrets...), builder.WithShortestRefresh)
	// The attached secrets that no reference can mean are not read: a reference to each.
	value := map[string]any{}
	for i := range secrets {
		value[fmt.Sprintf("v%d", i)] = fmt.Sprintf("vault.secret(s%d.value)", i)
	}
	connection.Spec.Value = builder.JSON(value)
	return atLeast(8, "answers of 4 MiB were read", func() int { return s.count("secret/data/") }), t.create(connection)
}

func hangingTasks(t *Tenant) (Proof, error) {
	var s *server
	s, err := t.serveAs(func(_ http.ResponseWriter, r *http.Request, path string) bool {
		if path == "sys/health" || strings.HasPrefix(path, "auth/token/") {
			return false
		}
		s.hang(r.Context())
		return true
	})
	if err != nil {
		return nil, err
	}
	return atLeast(10, "requests hung", func() int { return s.count("secret/") + s.count("sys/internal/") }),
		t.each(100, func(ctx context.Context, i int) error {
			return t.Client.Create(ctx, builder.VaultTask(t.Namespace, fmt.Sprintf("task-%d", i), v1alpha1.OperationWrite, fmt.Sprintf("x/%d", i),
				builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"})))
		})
}

func hangingConfigs(t *Tenant) (Proof, error) {
	var s *server
	s, err := t.serve(func(_ http.ResponseWriter, r *http.Request, path string) bool {
		if path == "sys/health" {
			return false
		}
		s.hang(r.Context())
		return true
	})
	if err != nil {
		return nil, err
	}
	return atLeast(10, "requests hung", func() int { return s.count("auth/") }),
		t.each(100, func(ctx context.Context, i int) error {
			return t.Client.Create(ctx, t.newConfig(fmt.Sprintf("config-%d", i), s.url))
		})
}
