package node

import (
	"context"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/refresh"
	"sallyport.dev/sallyport/internal/node/revocation"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// Resolver turns what the kubelet said of a volume into files, and revokes the leases of volumes that are gone. Its
// errors are faults; their sentences reach the pod's events.
type Resolver interface {
	// Resolve is for a volume that is mounted, whose pod waits for it.
	Resolve(ctx context.Context, request *resolverv1.ResolveRequest) (*resolverv1.ResolveResponse, error)
	refresh.Resolver
	revocation.Resolver
}

// Changes tells of secrets that Sallyport itself has changed. It answers when there are some, or after a while without.
type Changes = refresh.Changes

// boundedResolver asks another resolver, for no longer than timeout.
type boundedResolver struct {
	Resolver
	timeout time.Duration
}

// Resolve implements Resolver. It returns a response or an error.
func (r boundedResolver) Resolve(
	ctx context.Context, request *resolverv1.ResolveRequest,
) (*resolverv1.ResolveResponse, error) {
	return r.bounded(ctx, request, r.Resolver.Resolve)
}

// ResolveTogether implements Resolver. It returns a response or an error.
func (r boundedResolver) ResolveTogether(
	ctx context.Context, request *resolverv1.ResolveRequest,
) (*resolverv1.ResolveResponse, error) {
	return r.bounded(ctx, request, r.Resolver.ResolveTogether)
}

type resolve func(context.Context, *resolverv1.ResolveRequest) (*resolverv1.ResolveResponse, error)

func (r boundedResolver) bounded(
	ctx context.Context, request *resolverv1.ResolveRequest, resolve resolve,
) (*resolverv1.ResolveResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	response, err := resolve(ctx, request)
	if err != nil {
		return nil, err
	}
	if response == nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the resolver answered nothing")
	}
	return response, nil
}

// Release implements Resolver.
func (r boundedResolver) Release(ctx context.Context, request *resolverv1.ReleaseRequest) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return r.Resolver.Release(ctx, request)
}
