package vaulttask

import (
	"context"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/vault"
)

// target is what a task acts on.
type target struct {
	session  *vault.Session
	location vault.Location
	path     string // of the Generic operations
	// config is the VaultConfig whose identity is used; nil if the task brings its own.
	config *v1alpha1.VaultConfig
	close  func()
}

// shown is how status calls it.
func (t *target) shown() string {
	if t.path != "" {
		return t.path
	}
	return strings.Trim(t.location.EnginePath, "/") + "/" + strings.Trim(t.location.SecretPath, "/")
}

// target finds the Vault that the task means, logged in, and the path there.
func (a *attempt) target(ctx context.Context) (*target, error) {
	spec := &a.task.Spec
	to := &target{
		location: vault.Location{EnginePath: spec.EnginePath, SecretPath: spec.SecretPath, KVVersion: spec.KVVersion, KVOnly: true},
		path:     spec.Path,
		close:    func() {},
	}
	var err error
	switch {
	case spec.VaultConfigRef != nil:
		err = a.byConfig(ctx, to)
	case spec.Vault != nil:
		a.memory.enter(a.task)
		to.session, err = a.sessions.For(ctx, a.ownConfig(*spec.Vault))
	case spec.ConnectionRef != nil:
		err = a.byConnection(ctx, to)
	default:
		err = fault.Terminal(v1alpha1.ReasonInvalidSpec, "no Vault is named: set vaultConfigRef, vault or connectionRef")
	}
	if err != nil {
		return nil, err
	}
	if spec.Operation.Generic() && to.path == "" {
		err = fault.Terminal(v1alpha1.ReasonInvalidSpec, "no path is named: set spec.path, or path in the Connection's value")
	} else if !spec.Operation.Generic() && to.location.EnginePath == "" {
		err = fault.Terminal(v1alpha1.ReasonInvalidSpec, "no engine is named: set spec.enginePath, or enginePath in the VaultConfig or Connection")
	}
	if err != nil {
		to.close()
		return nil, err
	}
	return to, nil
}

func (a *attempt) byConfig(ctx context.Context, to *target) error {
	config, err := a.engine.Config(ctx, a.task.Namespace, *a.task.Spec.VaultConfigRef)
	if err != nil {
		return err
	}
	to.config = config
	if to.location.EnginePath == "" {
		to.location.EnginePath = config.Spec.EnginePath
	}
	to.session, err = a.sessions.For(ctx, config)
	return err
}

// ownConfig is a VaultConfig that exists only for the task, and goes by the task's name.
func (a *attempt) ownConfig(inline v1alpha1.InlineVault) *v1alpha1.VaultConfig {
	return &v1alpha1.VaultConfig{
		TypeMeta: metav1.TypeMeta{Kind: "VaultTask"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: a.task.Namespace, Name: a.task.Name, UID: a.task.UID, Generation: a.task.Generation,
		},
		Spec: v1alpha1.VaultConfigSpec{
			URL: inline.URL, VaultNamespace: inline.VaultNamespace,
			CACertificate: inline.CACertificate, CACertificateFrom: inline.CACertificateFrom,
			Auth: inline.Auth,
		},
	}
}

// permitted asks whether the VaultConfig lets the task do this there, before anything is sent.
func (a *attempt) permitted(ctx context.Context, to *target) error {
	if to.config == nil {
		return nil
	}
	name := client.ObjectKeyFromObject(to.config)
	if result := a.task.Spec.Result; result != nil && result.Wrap != nil && !isTrue(to.config.Spec.AllowWrappedResults) {
		return fault.Waiting(v1alpha1.ReasonPathNotAllowed,
			"VaultConfig %s does not allow wrapped results; use result.sealTo, or have its owner set spec.allowWrappedResults: true", name)
	}
	use := resolver.Use{Namespace: a.task.Namespace, Path: strings.Trim(to.path, "/"), Operation: a.task.Spec.Operation}
	if own := vault.SystemPath(use.Path); own != "" && !covered(use.Path, to.config.Spec.AllowedSystemPaths) {
		return fault.Waiting(v1alpha1.ReasonPathNotAllowed, "%s: VaultConfig %s does not let tasks act on what lies below %q, which may be Vault's own; "+
			"have its owner add the path to spec.allowedSystemPaths", use.Path, name, own)
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
		return to.session.ConfirmFolder(ctx, to.location)
	}
	path, engine, err = to.session.Confirm(ctx, to.location)
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
	case v1alpha1.OperationReadMetadata, v1alpha1.OperationWriteMetadata, v1alpha1.OperationPatchMetadata, v1alpha1.OperationDeleteMetadata:
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
