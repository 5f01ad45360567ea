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
	// Secondary: a disaster recovery secondary, which serves nobody until it is promoted.
	Secondary bool
}

// healthAnswer is the body of sys/health. Initialized is a pointer to see that it is there: the endpoint has no request ID.
type healthAnswer struct {
	Initialized       *bool  `json:"initialized"`
	Sealed            bool   `json:"sealed"`
	Standby           bool   `json:"standby"`
	Version           string `json:"version"`
	ClusterName       string `json:"cluster_name"`
	ReplicationDRMode string `json:"replication_dr_mode"`
	// Errors are there in place of all else when Vault refuses to answer.
	Errors []string `json:"errors"`
}

// health asks sys/health, or takes an answer that is no older than the wire allows: however many VaultConfigs there are, one of them
// asks. The status code says again what the body says (429: standby, 503: sealed, …), so the body decides.
func (l *link) health(ctx context.Context, as string) (Health, error) {
	r := request{method: http.MethodGet, path: "sys/health", as: as}
	found, err := l.beat(ctx)
	if err != nil {
		return Health{}, l.bare().noAnswer(ctx, r, false, err)
	}
	switch {
	case found.err != nil:
		return Health{}, l.bare().noAnswer(ctx, r, found.sent, found.err)
	case found.answer.Initialized == nil:
		return Health{}, l.refusal(ctx, r, &answer{status: found.status})
	}
	return Health{
		Version:     found.answer.Version,
		ClusterName: found.answer.ClusterName,
		Sealed:      found.answer.Sealed,
		Initialized: *found.answer.Initialized,
		Standby:     found.answer.Standby,
		Secondary:   found.answer.ReplicationDRMode == "secondary",
	}, nil
}
