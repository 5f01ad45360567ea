package resolver

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
)

// maxParallel bounds the requests that one Connection sends to Vault at a time.
const maxParallel = 8

// source is one secret in Vault, and what is known of it during one request. All that the engine asks of a session is
// asked in this file.
type source struct {
	configRef v1alpha1.VaultConfigReference
	location  secrets.Location
	label     string // how a sentence calls it

	config  *v1alpha1.VaultConfig
	session *session.Session
	// wanted are the keys that references name. Nothing else is kept of the secret.
	wanted  map[string]bool
	path    string // as Vault's API has it, with the engine
	key     string // under which reads are shared, or a volume's leases have it; empty until the session is open
	readKey string // under which reads are shared
	secret  *secrets.Secret
	version contentVersion
	err     error
	// deferred: only a pod can read it, and here is none.
	deferred bool

	// dynamic: Vault issues it for each reader, and nobody else gets it.
	dynamic bool
	issued  *secrets.Issued
	// held: the volume has it already, and goes on with it.
	held bool
}

// newSource is the source of an attached secret.
func newSource(namespace string, secret *v1alpha1.VaultSecret) (*source, error) {
	s := &source{
		configRef: secret.VaultConfigRef,
		label:     secret.Name,
		location: secrets.Location{
			EnginePath: secret.EnginePath, SecretPath: secret.SecretPath, KVVersion: secret.KVVersion,
		},
	}
	if secret.Version != nil {
		s.location.Version = *secret.Version
	}
	if s.label == "" {
		s.label = ConfigKey(namespace, secret.VaultConfigRef).Name + ":" + secret.SecretPath
	}
	if secret.Method != v1alpha1.SecretMethodPost {
		return s, nil
	}
	s.location.Write, s.location.Parameters = true, map[string]any{}
	if secret.Parameters == nil {
		return s, nil
	}
	if err := json.Unmarshal(secret.Parameters.Raw, &s.location.Parameters); err != nil {
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec,
			"vaultSecrets: the parameters of %s are no JSON object", secret.SecretPath)
	}
	return s, nil
}

// absent: nobody gets it here, so that a reference to it is checked only as far as that goes.
func (s *source) absent() bool { return s.deferred || s.dynamic && s.secret == nil }

// findConfig finds the VaultConfig, and the engine that it names where the secret names none.
func (s *source) findConfig(ctx context.Context, access access, namespace string) {
	if s.config, s.err = access.config(ctx, namespace, s.configRef); s.err != nil {
		return
	}
	if s.location.EnginePath == "" {
		s.location.EnginePath = s.config.Spec.EnginePath
	}
	if s.location.EnginePath == "" {
		s.err = fault.Waiting(v1alpha1.ReasonInvalidSpec,
			"no engine is named for %s: set enginePath with the secret or in VaultConfig %s/%s",
			s.label, s.config.Namespace, s.config.Name)
	}
}

// open finds out session and canonical path, and refuses what the VaultConfig does not let the namespace have.
func (s *source) open(
	ctx context.Context, sessions *session.Sessions, access access, namespace string, workload *auth.Workload,
) {
	if s.err != nil || s.deferred {
		return
	}
	if s.session, s.err = sessions.ForWorkload(ctx, s.config, workload); s.err != nil {
		return
	}
	if s.path, s.err = s.permittedPath(ctx, access, namespace); s.err != nil {
		return
	}
	if s.dynamic, s.err = secrets.IsDynamic(ctx, s.session, s.location); s.err != nil {
		return
	}
	// What one token may read is not for another, and neither is what is read as another KV version than the engine
	// has.
	s.key = fmt.Sprintf("%s/%d %s %s?version=%d",
		s.config.UID, s.config.Generation, s.session.WorkloadKey(), s.path, s.location.Version)
	if s.location.KVVersion == v1alpha1.KVVersion1 {
		s.key += "&kv=1"
	}
	s.readKey = s.key
}

// permittedPath returns the path as Vault's API has it, if the namespace may read there.
func (s *source) permittedPath(ctx context.Context, access access, namespace string) (string, error) {
	if namespace == s.config.Namespace {
		return secrets.APIPath(ctx, s.session, s.location)
	}
	path, engine, err := secrets.Confirm(ctx, s.session, s.location)
	if err != nil {
		return "", err
	}
	use := Use{Namespace: namespace, Path: path, KV2Engine: engine}
	if s.location.Write { // as a VaultTask that does the same
		use.Operation = v1alpha1.OperationGenericWrite
	}
	return path, access.permit(ctx, s.config, use)
}

// fetch reads the secret from Vault.
func (s *source) fetch(ctx context.Context) (*secrets.Secret, error) {
	return secrets.Read(ctx, s.session, s.location)
}

// want says that a reference names the key.
func (s *source) want(key string) {
	if s.wanted == nil {
		s.wanted = map[string]bool{}
	}
	s.wanted[key] = true
}

// fields are the wanted keys in their order.
func (s *source) fields() []string { return slices.Sorted(maps.Keys(s.wanted)) }

// keep takes of a secret what references name, and drops the rest: other callers, who may want something else, have the
// secret as well, and none keeps more of it in memory than it uses. Without values only the keys are kept, which is all
// that a check needs.
func (s *source) keep(secret *secrets.Secret, values bool) {
	kept := *secret
	kept.Data = make(map[string]any, len(s.wanted))
	for key := range s.wanted {
		value, found := secret.Data[key]
		switch {
		case found && values:
			kept.Data[key] = value
		case found:
			kept.Data[key] = nil
		}
	}
	s.secret = &kept
}

// issue has Vault issue the dynamic secret.
func (s *source) issue(ctx context.Context) {
	s.issued, s.err = secrets.Issue(ctx, s.session, s.location)
}

// checkIssuable finds out whether Vault would issue the dynamic secret; it does not.
func (s *source) checkIssuable(ctx context.Context) {
	s.err = secrets.MayIssue(ctx, s.session, s.location)
}

// place is where a change of the secret is told.
func (s *source) place() string {
	return Place(s.config.Spec.URL, s.config.Spec.VaultNamespace, s.path)
}

// secretKey says which secret of which Vault it is, whatever else of the Connection or the VaultConfig changes. Nodes
// keep it with the leases, so its form stays.
func (s *source) secretKey() string {
	parameters, _ := json.Marshal(s.location.Parameters) // what was JSON can be JSON again
	return fmt.Sprintf("%s %s %s %s %s write=%t %s", s.config.UID, s.config.Spec.URL, s.config.Spec.VaultNamespace,
		s.session.WorkloadKey(), s.path, s.location.Write, parameters)
}

// serviceAccount of the pod that logged in, if a pod did.
func (s *source) serviceAccount() string {
	if !auth.IsWorkload(s.config) {
		return ""
	}
	return s.session.ServiceAccount()
}

// inParallel does the same for all sources, up to maxParallel at a time.
func inParallel(ctx context.Context, sources []*source, do func(*source)) {
	if len(sources) == 1 {
		do(sources[0])
		return
	}
	var group errgroup.Group
	group.SetLimit(maxParallel)
	for _, s := range sources {
		group.Go(func() error {
			// A panic here would end the process, with the requests of all others.
			if err := fault.Guard(ctx, func() error { do(s); return nil }); err != nil {
				s.err = err
			}
			return nil
		})
	}
	_ = group.Wait()
}
