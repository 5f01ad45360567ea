package lease

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"
	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/shares"
	"sallyport.dev/sallyport/internal/vault/transport"
)

const (
	// callTimeout bounds what a request spends on all leases that it brings, and the queue on one revocation. It leaves
	// most of the 25 seconds that a node waits to the rest of the request, so that the node hears the true reason.
	callTimeout = 6 * time.Second
	// maxCalls is how many leases requests look up, renew or revoke at once, those of one namespace and those of one
	// lane. A Vault that answers does 8 at a time by the thousand in a second; one that hangs holds 8 and no more.
	maxCalls            = 256
	maxCallsOfNamespace = 32
	maxCallsOfLane      = 8
)

// lane is what one Vault that does not answer can hold up: the leases of one namespace's pods that one VaultConfig had
// it issue.
type lane struct {
	namespace string
	config    types.NamespacedName
	vault     string
}

func laneOf(namespace string, l *Lease) lane {
	return lane{namespace: namespace, config: l.Config, vault: l.Vault}
}

// calls bounds the calls that requests make at once for leases. A lane waits for itself first, then a namespace for
// itself, and only who has a turn in both takes a place among all.
type calls struct {
	all        *semaphore.Weighted
	namespaces *shares.Turns[string]
	lanes      *shares.Turns[lane]
}

func newCalls() *calls {
	return &calls{
		all:        semaphore.NewWeighted(maxCalls),
		namespaces: shares.NewTurns[string](maxCallsOfNamespace),
		lanes:      shares.NewTurns[lane](maxCallsOfLane),
	}
}

// acquire waits for a turn as long as ctx lets it. The error is a fault.
func (c *calls) acquire(ctx context.Context, of lane) (release func(), err error) {
	leaveLane, err := c.lanes.Acquire(ctx, of, 1)
	if err != nil {
		return nil, noTurn(of)
	}
	leaveNamespace, err := c.namespaces.Acquire(ctx, of.namespace, 1)
	if err != nil {
		leaveLane()
		return nil, noTurn(of)
	}
	if c.all.Acquire(ctx, 1) != nil {
		leaveNamespace()
		leaveLane()
		return nil, noTurn(of)
	}
	return func() {
		c.all.Release(1)
		leaveNamespace()
		leaveLane()
	}, nil
}

func noTurn(of lane) error {
	return fault.Transient(v1alpha1.ReasonVaultUnreachable,
		"VaultConfig %s: the calls for other leases took all the time there was: Vault answers slowly or not at all",
		of.config).WithRemedy(transport.CheckSpeed)
}
