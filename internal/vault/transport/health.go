package transport

import (
	"context"
	"net/http"

	"sallyport.dev/sallyport/internal/printable"
)

// maxVersion and maxClusterName are what status has room for.
const (
	maxVersion     = 128
	maxClusterName = 256
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

// Health asks sys/health, or takes a cached result: however many VaultConfigs there are, one of them asks. The status
// code says again what the body says (429: standby, 503: sealed, …), so the body decides.
func (c *Conn) Health(ctx context.Context, actor string) (Health, error) {
	r := Request{Method: http.MethodGet, Path: healthPath, Actor: actor}
	anonymous := c.anonymous()
	found, err := c.transport.health.get(ctx, c.transport.clock, anonymous.askHealth)
	if err != nil {
		return Health{}, anonymous.unanswered(ctx, r, false, err)
	}
	switch {
	case found.err != nil:
		return Health{}, anonymous.unanswered(ctx, r, found.sent, found.err)
	case found.response.Initialized == nil:
		return Health{}, responseFault(r, &Response{Status: found.status})
	}
	return Health{
		Version:     printable.Text(found.response.Version, maxVersion),
		ClusterName: printable.Text(found.response.ClusterName, maxClusterName),
		Sealed:      found.response.Sealed,
		Initialized: *found.response.Initialized,
		Standby:     found.response.Standby,
		Secondary:   found.response.ReplicationDRMode == "secondary",
	}, nil
}

// askHealth asks sys/health, which belongs to no namespace and to no VaultConfig's limits.
func (c *Conn) askHealth(ctx context.Context) *healthResult {
	result := &healthResult{}
	var meta responseMeta
	meta, result.sent, result.err = c.roundTrip(ctx, Request{Method: http.MethodGet, Path: healthPath}, &result.response)
	result.status = meta.status
	return result
}
