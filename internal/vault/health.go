package vault

import (
	"context"
	"net/http"
)

// Health is what Vault says of itself, from sys/health.
type Health struct {
	// Version of the server, for example 1.21.1.
	Version string
	// ClusterName is empty while Vault is sealed.
	ClusterName string
	// Sealed: Vault can answer nothing until it is unsealed.
	Sealed bool
	// Initialized is false for a new Vault that has no keys yet.
	Initialized bool
	// Standby: another node of the cluster is active. Standbys forward requests to it.
	Standby bool
}

// healthAnswer is the body of sys/health. Initialized is a pointer to see that it is there: the endpoint has no request ID.
type healthAnswer struct {
	Initialized *bool  `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Standby     bool   `json:"standby"`
	Version     string `json:"version"`
	ClusterName string `json:"cluster_name"`
}

// health asks sys/health. The status code says again what the body says (429: standby, 503: sealed, …), so the body decides.
func (l *link) health(ctx context.Context, as string) (Health, error) {
	r := request{method: http.MethodGet, path: "sys/health", as: as}
	var a healthAnswer
	status, sent, err := l.exchange(ctx, r, &a)
	switch {
	case err != nil:
		return Health{}, l.noAnswer(ctx, r, sent, err)
	case a.Initialized == nil:
		return Health{}, l.refusal(ctx, r, &answer{status: status})
	}
	return Health{
		Version:     a.Version,
		ClusterName: a.ClusterName,
		Sealed:      a.Sealed,
		Initialized: *a.Initialized,
		Standby:     a.Standby,
	}, nil
}
