package transport

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"sallyport.dev/sallyport/internal/printable"
)

// maxVersion and maxClusterName are what status has room for.
const (
	maxVersion     = 128
	maxClusterName = 256
)

// turnTime is how long a request waits for sys/health before it is sent nevertheless, be it the first after a hang or
// one that asks whether there are namespaces.
const turnTime = time.Second

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
	// NoNamespaces: it says that it is the Community edition, which ignores the namespace that a request names. False
	// where it does not say which edition it is.
	NoNamespaces bool
}

// HealthHiddenError is why nothing is known of Vault's health: something in front of Vault answers in its place, which
// may keep sys/ to itself. Whether Vault serves requests shows when one is sent.
type HealthHiddenError struct{ error }

// Unwrap returns the fault.
func (e *HealthHiddenError) Unwrap() error { return e.error }

// HealthHidden tells whether an error of Health says that nothing is known.
func HealthHidden(err error) bool {
	_, hidden := errors.AsType[*HealthHiddenError](err)
	return hidden
}

// Health asks sys/health, or takes a cached result: however many VaultConfigs there are, one of them asks. The status
// code says again what the body says (429: standby, 503: sealed, …), so the body decides. The error is a
// HealthHiddenError where somebody else than Vault says no.
func (c *Conn) Health(ctx context.Context, actor string) (Health, error) {
	return c.healthSince(ctx, actor, time.Time{})
}

// healthSince is Health by a look that began after a moment.
func (c *Conn) healthSince(ctx context.Context, actor string, since time.Time) (Health, error) {
	r := Request{Method: http.MethodGet, Path: "sys/health", Actor: actor}
	anonymous := c.anonymous()
	found, err := c.transport.health.get(ctx, c.transport.clock, since, anonymous.askHealth)
	if err != nil {
		return Health{}, anonymous.unanswered(ctx, r, false, err)
	}
	switch {
	case found.err != nil:
		err = anonymous.unanswered(ctx, r, found.sent, found.err)
	case found.response.Initialized == nil:
		err = responseFault(r, &Response{Status: found.status})
	}
	switch {
	case err != nil && found.hidden():
		return Health{}, &HealthHiddenError{err}
	case err != nil:
		return Health{}, err
	}
	return Health{
		Version:      printable.Text(found.response.Version, maxVersion),
		ClusterName:  printable.Text(found.response.ClusterName, maxClusterName),
		Sealed:       found.response.Sealed,
		Initialized:  *found.response.Initialized,
		Standby:      found.response.Standby,
		Secondary:    found.response.ReplicationDRMode == "secondary",
		NoNamespaces: found.response.noNamespaces(),
	}, nil
}

// LacksNamespaces tells whether Vault says that it has no namespaces: it would answer what is asked of one from the
// root. It is false where that is not known: sys/health is hidden or unanswered, or does not tell the edition.
func (c *Conn) LacksNamespaces(ctx context.Context) bool {
	t := c.transport
	if lacks, known := t.health.lacksNamespaces(t.clock.Now()); known {
		return lacks
	}
	// Whoever hides sys/health by dropping the request must not hold up every login.
	look, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	_, _ = t.health.get(look, t.clock, time.Time{}, c.anonymous().askHealth)
	lacks, _ := t.health.lacksNamespaces(t.clock.Now())
	return lacks
}

// askHealth asks sys/health, which belongs to no namespace and to no VaultConfig's limits.
func (c *Conn) askHealth(ctx context.Context) *healthResult {
	result := &healthResult{began: c.transport.clock.Now()}
	look := c.transport.breaker.Look()
	r := Request{Method: http.MethodGet, Path: "sys/health"}
	ctx, span := c.span(ctx, r)
	var meta responseMeta
	meta, result.sent, result.err = c.roundTrip(ctx, r, &result.response)
	span.Status(meta.status)
	if result.err == nil {
		span.End(nil)
	} else {
		span.End(c.unanswered(ctx, r, result.sent, result.err))
	}
	if result.status = meta.status; result.timedOut() {
		look.TimedOut(result.sent)
	} else {
		look.Answered()
	}
	// A connection over which there is no answer may be what is broken, and not Vault: the next look shows.
	if slices.Contains(servesOthers, result.status) || result.timedOut() && result.sent {
		c.transport.connections.renew()
	}
	return result
}

// servesOthers are the statuses of sys/health of a node that is not the one to ask: standby, disaster recovery
// secondary, performance standby, not initialized, sealed.
var servesOthers = []int{
	http.StatusTooManyRequests, statusRecoverySecondary, statusPerformanceStandby,
	http.StatusNotImplemented, http.StatusServiceUnavailable,
}
