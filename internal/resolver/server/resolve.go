package server

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/lease"
	"sallyport.dev/sallyport/internal/resolver"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/resolver/usage"
	"sallyport.dev/sallyport/internal/tracing"
	"sallyport.dev/sallyport/internal/vault/auth"
)

// Resolve implements the gRPC service.
func (s *Server) Resolve(
	ctx context.Context, request *resolverv1.ResolveRequest,
) (response *resolverv1.ResolveResponse, err error) {
	ctx, span := tracing.Start(tracing.Incoming(ctx), tracing.Server, "resolve")
	defer func() { span.End(err) }()
	authorization, err := s.authorizer.Authorize(ctx, bearer(ctx), request)
	if err != nil {
		return nil, err
	}
	span.Set(tracing.Namespace, authorization.Pod.Namespace)
	span.Set(tracing.Pod, authorization.Pod.Name)
	span.Set(tracing.Node, authorization.Node)
	span.Set(tracing.Connection, authorization.Connection)
	served := s.engine.Begin() // only now: whoever is not known begins no burst
	defer served()
	defer func() { s.events.refreshed(authorization, request, err) }()
	workload := s.authorizer.Workload(authorization, request.GetWorkloadTokens())
	leases, err := s.openLeases(ctx, authorization, request, workload)
	if err != nil {
		return nil, err
	}
	connection, err := s.connectionOf(ctx, authorization)
	if err != nil {
		return nil, err
	}
	key := client.ObjectKeyFromObject(connection)
	volume := usage.NewVolumeID(authorization.PodUID, request.GetVolumeAttributes())
	resolved, err := s.engine.Resolve(ctx, connection, resolver.Volume{
		Pod: resolver.Pod{
			Namespace: authorization.Pod.Namespace, Name: authorization.Pod.Name,
			ServiceAccount: authorization.ServiceAccount, Labels: authorization.Labels,
		},
		Workload: workload, Overrides: authorization.Overrides,
		Revision: request.GetRevision(), LeaseNames: leases.NamesByKey(), Files: keepable(request, leases),
	})
	var encrypted []byte
	if err == nil {
		if !resolved.Unchanged {
			leases.Files, leases.Revision = resolved.Digests, resolved.Revision
		}
		if encrypted, err = s.leases.Commit(ctx, leases, resolved.SecretKeys, resolved.Issued); err != nil {
			s.engine.Undelivered(resolved, err)
		}
	}
	if err != nil {
		s.leases.RevokeUndelivered(authorization.Pod.Namespace, resolved.Issued)
		s.volumes.Failed(key, volume)
		return nil, err
	}
	if resolved.FromMemory.Fault != nil {
		s.events.servedFromMemory(authorization, resolved.FromMemory)
	}
	s.volumes.Served(key, volume, resolved.Versions, resolved.RefreshAfter)
	s.volumes.Leased(key, volume, len(leases.Leases), leases.NextAction())
	response = &resolverv1.ResolveResponse{
		Revision:       resolved.Revision,
		Unchanged:      resolved.Unchanged,
		RefreshAfterMs: s.leases.NextRefresh(leases, resolved.RefreshAfter).Milliseconds(),
		ChangeKeys:     resolved.ChangeKeys,
		Leases:         encrypted,
		Owner:          authorization.Owner,
		Grant:          s.authorizer.Grant(ctx, authorization, request),
	}
	for _, file := range resolved.Files {
		response.Files = append(response.Files,
			&resolverv1.File{Path: file.Path, Content: file.Content, Mode: file.Mode, Kept: file.Kept})
	}
	return response, nil
}

// keepable are the files with dynamic secrets that the volume need not be sent again.
func keepable(request *resolverv1.ResolveRequest, leases *lease.VolumeLeases) map[string]string {
	if !request.GetKeepsFiles() {
		return nil // of an older version
	}
	return leases.FilesOf(request.GetRevision())
}

// openLeases returns the leases that the volume brings, after what is due for them was done. That comes first of all,
// whatever becomes of the rest: the pod goes on using what its volume holds.
func (s *Server) openLeases(
	ctx context.Context, authorization *Authorization, request *resolverv1.ResolveRequest, workload *auth.Workload,
) (*lease.VolumeLeases, error) {
	leases, err := s.leases.Open(ctx, request.GetLeases(), lease.Volume{
		ID: authorization.VolumeID, PodUID: authorization.PodUID, PodName: authorization.Pod.Name,
		Namespace: authorization.Pod.Namespace, Node: authorization.Node,
	})
	if err != nil {
		return nil, err
	}
	s.leases.RevokeUnclaimed(leases)
	s.leases.Renew(ctx, leases, workload)
	return leases, nil
}

// connectionOf returns the Connection that a request is authorised for, if the pod may mount it.
func (s *Server) connectionOf(ctx context.Context, authorization *Authorization) (*v1alpha1.Connection, error) {
	connection := &v1alpha1.Connection{}
	key := types.NamespacedName{Namespace: authorization.Pod.Namespace, Name: authorization.Connection}
	if err := s.connections.Get(ctx, key, connection); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, fault.Waiting(v1alpha1.ReasonConnectionNotFound, "Connection %s does not exist", key)
		}
		return nil, fault.Transient(v1alpha1.ReasonInternal,
			"Connection %s cannot be read from the Kubernetes API: %v", key, err)
	}
	allowed := connection.Spec.AllowedServiceAccounts
	if len(allowed) > 0 && !slices.Contains(allowed, authorization.ServiceAccount) {
		return nil, fault.Waiting(v1alpha1.ReasonNotAllowed,
			"Connection %s may not be mounted by pods of service account %s: it is not among allowedServiceAccounts",
			key, authorization.ServiceAccount)
	}
	return connection, nil
}
