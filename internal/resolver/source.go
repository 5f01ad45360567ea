package resolver

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/utils/ptr"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/resolver/outage"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// maxParallel bounds the requests that one Connection sends to Vault at a time.
const maxParallel = 8

// source is one secret in Vault, and what is known of it during one request. All that the engine asks of a session is
// asked in this file.
type source struct {
	configRef v1alpha1.VaultConfigReference
	location  secrets.Location
	label     string // how a sentence calls it
	podLabels []string
	// vaultNamespace that the secret is in; empty: the VaultConfig's.
	vaultNamespace string

	config  *v1alpha1.VaultConfig
	session *session.Session
	// wanted are the keys that references name, or whole is true. Nothing else is kept of the secret.
	wanted map[string]bool
	whole  bool
	// optional: what is absent is null; defaults: a reference has something else in the place of what is absent.
	optional, defaults bool
	kv2Engine          string // as Vault said of the engine, where that was asked
	// path as Vault's API has it in the VaultConfig's namespace of Vault: with the engine, and where that is in one below,
	// with the way there.
	path string
	// told is the place of toldPath: see place.
	told, toldPath string
	// Under which reads are shared, or a volume's leases have it; empty until the session is open.
	key     string
	readKey string // under which reads are shared
	secret  *secrets.Secret
	version contentVersion
	err     error
	// missing says that there is no such secret, where that is no failure; looked that Vault was asked for it.
	missing error
	looked  bool
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
		podLabels: secret.PodLabels, vaultNamespace: secret.VaultNamespace,
		optional: ptr.Deref(secret.Optional, false),
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
		return
	}
	s.location.Below, s.err = WayBelow(s.config, s.vaultNamespace)
}

// WayBelow is the way from a VaultConfig's namespace of Vault to one that a secret names, which must be that one, or
// below it: what the VaultConfig says of others' uses, and its place in Vault, holds for all that is read with it. It
// is empty for that one itself, and where none is named.
func WayBelow(config *v1alpha1.VaultConfig, named string) (string, error) {
	if named == "" {
		return "", nil
	}
	wanted, err := transport.CleanPath("vaultNamespace", named)
	if err != nil {
		return "", err
	}
	own := transport.NamespacePath(config.Spec.VaultNamespace)
	below, inside := strings.CutPrefix(wanted, own+"/")
	if own == "" {
		below, inside = wanted, true
	}
	switch {
	case wanted == own, own == "" && transport.NamespacePath(wanted) == "":
		return "", nil
	case inside && secrets.SystemPath(below) != "":
		// Vault puts namespace and path together before it looks for either: auth and token/lookup-self would be a read of
		// the session's own token.
		return "", fault.Terminal(v1alpha1.ReasonInvalidSpec, "vaultNamespace %q: %q is Vault's own, and no namespace has that name",
			named, secrets.SystemPath(below)).WithRemedy("write the name of a namespace")
	case inside:
		return below, nil
	}
	return "", fault.Waiting(v1alpha1.ReasonInvalidSpec, "vaultNamespace %q is not in the namespace of VaultConfig %s/%s, %q",
		wanted, config.Namespace, config.Name, own).
		WithRemedy("write the whole name of one below it, or use the VaultConfig of another namespace of Vault")
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
		path, err := secrets.APIPath(ctx, s.session, s.location)
		return s.fromConfig(path), err
	}
	path, engine, err := secrets.Confirm(ctx, s.session, s.location)
	if err != nil {
		return "", err
	}
	path = s.fromConfig(path)
	use := Use{Namespace: namespace, Path: path, KV2Engine: s.fromConfig(engine)}
	s.kv2Engine = use.KV2Engine
	if s.location.Write { // as a VaultTask that does the same
		use.Operation = v1alpha1.OperationGenericWrite
	}
	return path, access.permit(ctx, s.config, use)
}

// outageKey names the secret, and who reads it, by what is known without Vault.
func (s *source) outageKey(namespace, workload string) outage.Key {
	return outage.Key{
		Identity:  outage.Identity{Config: s.config.UID, Generation: s.config.Generation, Workload: workload},
		Namespace: namespace,
		Location: fmt.Sprintf("%q %q %q %q %d",
			s.location.Below, s.location.EnginePath, s.location.SecretPath, s.location.KVVersion, s.location.Version),
	}
}

// workloadKey is that of the session which a workload has with a VaultConfig.
func workloadKey(config *v1alpha1.VaultConfig, workload *auth.Workload) string {
	if workload == nil || !auth.IsWorkload(config) {
		return ""
	}
	return auth.NewWorkloadIdentity(workload).String()
}

// fromConfig is a path as it is in the VaultConfig's namespace of Vault, in whose terms paths are granted and told.
func (s *source) fromConfig(path string) string {
	return transport.PathBelow(s.location.Below, path)
}

// fetch reads the secret from Vault.
func (s *source) fetch(ctx context.Context) (*secrets.Secret, error) {
	return secrets.Read(ctx, s.session, s.location)
}

// want says that a reference leads to the secret.
func (s *source) want(ref expression.Reference) {
	s.defaults = s.defaults || ref.Default != ""
	if ref.Whole {
		s.whole = true
		return
	}
	if s.wanted == nil {
		s.wanted = map[string]bool{}
	}
	s.wanted[ref.Key] = true
}

// wantAs has it keep what another source of the same secret wants.
func (s *source) wantAs(twin *source) {
	s.whole = s.whole || twin.whole
	for key := range twin.wanted {
		s.want(expression.Reference{Key: key})
	}
}

// fields are the wanted keys in their order, or allFields.
func (s *source) fields() []string {
	if s.whole {
		return []string{allFields}
	}
	return slices.Sorted(maps.Keys(s.wanted))
}

// toleratesAbsence: the files can be made without the secret, as far as some reference goes.
func (s *source) toleratesAbsence() bool { return s.optional || s.defaults }

// forgive takes an error that says that there is no such secret for an answer, if references can do without.
func (s *source) forgive() {
	if s.toleratesAbsence() && fault.Absent(s.err) {
		s.missing, s.version, s.err = s.err, absentVersion, nil
	}
}

// keep takes of a secret what references name, and drops the rest: other callers, who may want something else, have the
// secret as well, and none keeps more of it in memory than it uses. Without values only the keys are kept, which is all
// that a check needs.
func (s *source) keep(secret *secrets.Secret, values bool) {
	kept := *secret
	kept.Data = make(map[string]any, len(s.wanted))
	for key, value := range secret.Data {
		switch {
		case !s.whole && !s.wanted[key]:
		case values:
			kept.Data[key] = value
		default:
			kept.Data[key] = nil
		}
	}
	s.secret, s.missing = &kept, nil
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
	if s.told == "" || s.toldPath != s.path { // it is asked for several times in a request
		s.told, s.toldPath = Place(s.config.Spec.URL, s.config.Spec.VaultNamespace, s.path), s.path
	}
	return s.told
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
