package vaulttask

import (
	"context"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
)

// target is the place in Vault that a task acts on, with a session that is logged in there.
type target struct {
	session  *session.Session
	location secrets.Location
	path     string // of the Generic operations
	// config is the VaultConfig whose identity is used; nil if the task brings its own.
	config *v1alpha1.VaultConfig
	// connection that the Vault was taken from, as it was; nil if it was not.
	connection *v1alpha1.TaskConnection
	// own: the session is for tasks only, and its token is revoked after them.
	own   bool
	close func()
}

// shown is how status calls it.
func (t *target) shown() string {
	if t.path != "" {
		return t.path
	}
	return strings.Trim(t.location.EnginePath, "/") + "/" + strings.Trim(t.location.SecretPath, "/")
}

// access finds the Vault that a task means, and checks what the task may do there.
type access struct {
	*Reconciler
	task *v1alpha1.VaultTask
}

// target finds the Vault that the task means, logged in, and the path there.
func (a *access) target(ctx context.Context) (*target, error) {
	spec := &a.task.Spec
	to := &target{
		location: secrets.Location{EnginePath: spec.EnginePath, SecretPath: spec.SecretPath, KVVersion: spec.KVVersion,
			KVOnly: true},
		path:  spec.Path,
		close: func() {},
	}
	var err error
	switch {
	case spec.VaultConfigRef != nil:
		err = a.byConfig(ctx, to)
	case spec.Vault != nil:
		a.own.add(a.task)
		to.own = true
		to.session, err = a.sessions.For(ctx, a.inlineConfig(*spec.Vault))
	case spec.ConnectionRef != nil:
		err = a.byConnection(ctx, to)
	default:
		err = fault.Terminal(v1alpha1.ReasonInvalidSpec, "no Vault is named: set vaultConfigRef, vault or connectionRef")
	}
	if err == nil {
		if err = to.named(spec.Operation); err != nil {
			to.close()
		}
	}
	switch {
	case err == nil:
		return to, nil
	case spec.ConnectionRef != nil:
		// An edit of the Connection cures what is wrong with it and what it leaves out, so the task waits for one.
		return nil, fault.About(err, fault.Subject{
			Kind: fault.KindConnection, Namespace: a.task.Namespace, Name: spec.ConnectionRef.Name,
		})
	}
	return nil, err
}

// maxPath is the longest path that a task may have, in bytes: what status takes, less what an operation puts in it.
const maxPath = 4000

// named refuses a target without the path that the operation needs, or with one that status has no room for: an effect
// that could not be recorded must not happen.
func (t *target) named(operation v1alpha1.VaultTaskOperation) error {
	switch {
	case len(t.shown()) > maxPath:
		return fault.Terminal(v1alpha1.ReasonInvalidSpec, "the path has %d bytes, and %d are allowed", len(t.shown()), maxPath).
			WithRemedy("shorten it")
	case operation.Generic() && t.path == "":
		return fault.Terminal(v1alpha1.ReasonInvalidSpec, "no path is named: set spec.path, or path in the Connection's value")
	case !operation.Generic() && t.location.EnginePath == "":
		return fault.Waiting(v1alpha1.ReasonInvalidSpec, "no engine is named: set spec.enginePath, or enginePath in the VaultConfig or Connection")
	}
	return nil
}

func (a *access) byConfig(ctx context.Context, to *target) error {
	config, err := a.engine.Config(ctx, a.task.Namespace, *a.task.Spec.VaultConfigRef)
	if err != nil {
		return err
	}
	to.config = config
	if to.location.EnginePath == "" {
		to.location.EnginePath = config.Spec.EnginePath
	}
	if err := namesWhoLogsIn(a.task, config); err != nil {
		return err
	}
	to.own = auth.IsWorkload(config)
	to.session, err = a.sessions.ForWorkload(ctx, config, a.workload(a.task))
	return err
}

// namesWhoLogsIn refuses a task that names no service account where the VaultConfig logs in as one of whoever uses it,
// and one that does where it logs in by itself: what its author meant to be Vault's to decide would not be.
func namesWhoLogsIn(task *v1alpha1.VaultTask, config *v1alpha1.VaultConfig) error {
	name, workload := client.ObjectKeyFromObject(config), auth.IsWorkload(config)
	switch named := task.Spec.ServiceAccountName != ""; {
	case workload && !named:
		return fault.Waiting(v1alpha1.ReasonInvalidSpec,
			"VaultConfig %s logs in as whoever uses it (workload: true), and spec.serviceAccountName does not say who that is", name).
			WithRemedy("create a VaultTask with serviceAccountName, a service account of this namespace that Vault's role allows; " +
				"or use a VaultConfig that logs in by itself")
	case named && !workload:
		return fault.Waiting(v1alpha1.ReasonInvalidSpec,
			"spec.serviceAccountName names service account %s, but VaultConfig %s logs in by itself, and as nobody else",
			task.Spec.ServiceAccountName, name).
			WithRemedy("create a VaultTask without serviceAccountName, or use a VaultConfig with workload: true")
	}
	return nil
}

// check asks whether the VaultConfig lets the task do this there, before anything is sent.
func (a *access) check(ctx context.Context, to *target) error {
	if to.config == nil {
		return nil
	}
	name := client.ObjectKeyFromObject(to.config)
	if result := a.task.Spec.Result; result != nil && result.Wrap != nil &&
		!isTrue(to.config.Spec.AllowWrappedResults) {
		return fault.Waiting(v1alpha1.ReasonPathNotAllowed,
			"VaultConfig %s does not allow wrapped results", name).
			WithRemedy("use result.sealTo, or have its owner set spec.allowWrappedResults: true")
	}
	use := resolver.Use{Namespace: a.task.Namespace, Path: strings.Trim(to.path, "/"), Operation: a.task.Spec.Operation}
	if own := secrets.SystemPath(use.Path); own != "" && !covered(use.Path, to.config.Spec.AllowedSystemPaths) {
		remedy := "have its owner add the path to spec.allowedSystemPaths"
		if rest, versioned := strings.CutPrefix(use.Path, "v1/"); versioned {
			remedy = "write path without v1/, which Sallyport puts before every path: " + rest
		}
		return fault.Waiting(v1alpha1.ReasonPathNotAllowed, "%s: VaultConfig %s does not let tasks act on what lies below %q, which may be Vault's own",
			use.Path, name, own).WithRemedy("%s", remedy)
	}
	if to.config.Namespace == a.task.Namespace {
		return nil
	}
	if to.path == "" {
		var err error
		if use.Path, use.KV2Engine, err = confirm(ctx, to, a.task.Spec.Operation); err != nil {
			return err
		}
	}
	return a.engine.Permit(ctx, to.config, use)
}

// confirm returns the path that an operation sends, and the engine if it is KV version 2.
func confirm(ctx context.Context, to *target, operation v1alpha1.VaultTaskOperation) (path, engine string, err error) {
	if operation == v1alpha1.OperationList {
		return secrets.ConfirmFolder(ctx, to.session, to.location)
	}
	path, engine, err = secrets.Confirm(ctx, to.session, to.location)
	if err != nil {
		return "", "", err
	}
	if part := partOf(operation); engine != "" && part != "data" {
		path = engine + "/" + part + strings.TrimPrefix(path, engine+"/data")
	}
	return path, engine, nil
}

// partOf is what a KV version 2 engine puts between its own path and a secret's for an operation.
func partOf(operation v1alpha1.VaultTaskOperation) string {
	switch operation {
	case v1alpha1.OperationReadMetadata, v1alpha1.OperationWriteMetadata, v1alpha1.OperationPatchMetadata,
		v1alpha1.OperationDeleteMetadata:
		return "metadata"
	case v1alpha1.OperationDelete:
		return "delete"
	case v1alpha1.OperationUndelete:
		return "undelete"
	case v1alpha1.OperationDestroy:
		return "destroy"
	default: // it is about a secret itself
		return "data"
	}
}

// covered tells whether a path is one of the given ones or lies below one, by whole parts.
func covered(path string, allowed []string) bool {
	for _, prefix := range allowed {
		prefix = strings.Trim(prefix, "/")
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			return true
		}
	}
	return false
}
