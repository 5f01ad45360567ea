package policy

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// task adds what a VaultTask needs, and what its data refers to.
func (m *maker) task(ctx context.Context, t *v1alpha1.VaultTask) error {
	who := fault.KindVaultTask + " " + t.Namespace + "/" + t.Name
	if err := m.taskData(ctx, t, who); err != nil {
		return err
	}
	d, config, at := m.target(t)
	if d == nil {
		return nil
	}
	by := use{who, t.Namespace, t.Spec.Operation}
	m.taskValues(d, t, who)
	if t.Spec.Operation.Generic() {
		m.generic(d, config, by, at.SecretPath)
		return nil
	}
	if t.Spec.Operation == v1alpha1.OperationList {
		return m.list(ctx, d, config, by, at)
	}
	where, problem, err := m.locate(ctx, d, config, at)
	if err != nil {
		return err
	}
	parts := partsOf(t, where)
	if problem == "" && len(parts) == 0 {
		problem = "the engine at " + quote(where.engine) + " keeps no versions, and so has no " + string(t.Spec.Operation)
	}
	if problem == "" {
		problem = m.refused(config, by, where.part(partOf(t.Spec.Operation)), where)
	}
	if problem != "" {
		d.problem(who, problem)
		return nil
	}
	for _, p := range parts {
		d.allow(who, where.part(p.name), p.capabilities...)
	}
	return nil
}

// taskData adds what the references in a task's data need, each in the policy of the VaultConfig that it names.
func (m *maker) taskData(ctx context.Context, t *v1alpha1.VaultTask, who string) error {
	texts := map[string]apiextensionsv1.JSON{}
	for key, text := range t.Spec.Data {
		raw, err := json.Marshal(text)
		if err != nil {
			return err
		}
		texts[key] = apiextensionsv1.JSON{Raw: raw}
	}
	value, err := expression.ParseValue(texts)
	if err != nil {
		m.tellAll(t.Namespace, nil, who, fault.From(err).Message())
		return nil
	}
	needs, err := resolver.NeedsOfValue(t.Namespace, value)
	if err != nil {
		m.tellAll(t.Namespace, nil, who, fault.From(err).Message())
		return nil
	}
	return m.reads(ctx, who, t.Namespace, needs)
}

// taskValues adds what making and handing out values needs.
func (m *maker) taskValues(d *draft, t *v1alpha1.VaultTask, who string) {
	for _, generated := range t.Spec.Generate {
		if generated.PasswordPolicy != "" {
			d.allow(who, "sys/policies/password/"+generated.PasswordPolicy+"/generate", read)
		}
	}
	if t.Spec.Unwrap != nil {
		d.allowSession(who, d.prefix+"sys/wrapping/unwrap", update)
	}
	if t.Spec.Result != nil && t.Spec.Result.Wrap != nil {
		d.allowSession(who, d.prefix+"sys/wrapping/wrap", update)
	}
}

// target is the identity that a task uses, and where it acts; nil if that is not among the objects.
func (m *maker) target(t *v1alpha1.VaultTask) (*draft, *v1alpha1.VaultConfig, secrets.Location) {
	spec := &t.Spec
	at := secrets.Location{EnginePath: spec.EnginePath, SecretPath: spec.SecretPath, KVVersion: spec.KVVersion}
	if spec.Operation.Generic() {
		at.SecretPath = spec.Path
	}
	switch {
	case spec.VaultConfigRef != nil:
		d, config := m.of(resolver.ConfigKey(t.Namespace, *spec.VaultConfigRef))
		if d != nil && at.EnginePath == "" {
			at.EnginePath = config.Spec.EnginePath
		}
		return d, config, at
	case spec.Vault != nil:
		config := configOf(fault.KindVaultTask, t.Namespace, t.Name)
		config.Spec = v1alpha1.VaultConfigSpec{
			URL: spec.Vault.URL, VaultNamespace: spec.Vault.VaultNamespace, Auth: spec.Vault.Auth,
		}
		return m.identity(config), config, at
	case spec.ConnectionRef != nil:
		return m.byConnection(t, at)
	}
	return nil, nil, at
}

// configOf is a VaultConfig that stands in another object.
func configOf(kind, namespace, name string) *v1alpha1.VaultConfig {
	config := &v1alpha1.VaultConfig{}
	config.Kind, config.Namespace, config.Name = kind, namespace, name
	return config
}

// byConnection is the identity that a Connection of type VAULT holds. Its credentials may be anything; what shows in
// status is literal text.
func (m *maker) byConnection(
	t *v1alpha1.VaultTask, at secrets.Location,
) (*draft, *v1alpha1.VaultConfig, secrets.Location) {
	c := m.connections[types.NamespacedName{Namespace: t.Namespace, Name: t.Spec.ConnectionRef.Name}]
	if c == nil {
		return nil, nil, at
	}
	text := func(key string) (found string) {
		_ = json.Unmarshal(c.Spec.Value[key].Raw, &found) // what is no text is not for this
		return found
	}
	config := configOf(fault.KindConnection, c.Namespace, c.Name)
	config.Spec.URL, config.Spec.VaultNamespace = text("url"), text("vaultNamespace")
	switch {
	case text("token") != "":
		config.Spec.Auth.Token = &v1alpha1.TokenAuth{}
	case text("roleID") != "":
		config.Spec.Auth.AppRole = &v1alpha1.AppRoleAuth{Mount: v1alpha1.MountPath(text("authMount"))}
	case text("username") != "":
		config.Spec.Auth.UserPass = &v1alpha1.PasswordAuth{}
	}
	if at.EnginePath == "" {
		at.EnginePath = text("enginePath")
	}
	key := "secretPath"
	if t.Spec.Operation.Generic() {
		key = "path"
	}
	if at.SecretPath == "" {
		at.SecretPath = text(key)
	}
	return m.identity(config), config, at
}

// generic adds what an operation on any path needs.
func (m *maker) generic(d *draft, config *v1alpha1.VaultConfig, by use, raw string) {
	path, err := transport.CleanPath("path", raw)
	if err != nil {
		d.problem(by.who, fault.From(err).Message())
		return
	}
	if own := secrets.SystemPath(path); own != "" && d.Subject.Kind == fault.KindVaultConfig &&
		!slices.ContainsFunc(config.Spec.AllowedSystemPaths, func(allowed string) bool {
			allowed = strings.Trim(allowed, "/")
			return path == allowed || strings.HasPrefix(path, allowed+"/")
		}) {
		d.problem(by.who, quote(path)+" may be Vault's own, and is not in the VaultConfig's allowedSystemPaths")
		return
	}
	if problem := m.refused(config, by, path, place{}); problem != "" {
		d.problem(by.who, problem)
		return
	}
	capabilities := map[v1alpha1.VaultTaskOperation][]string{
		v1alpha1.OperationGenericRead: {read}, v1alpha1.OperationGenericList: {list},
		v1alpha1.OperationGenericDelete: {remove}, v1alpha1.OperationGenericWrite: writesAnywhere(path),
	}
	d.allow(by.who, path, capabilities[by.operation]...)
}

// list adds what a List needs: that of an engine's top has no path.
func (m *maker) list(ctx context.Context, d *draft, config *v1alpha1.VaultConfig, by use, at secrets.Location) error {
	top := strings.Trim(at.SecretPath, "/") == ""
	if top {
		at.SecretPath = "top" // only to find the engine, for which a path is wanted
	}
	where, problem, err := m.locate(ctx, d, config, at)
	if err != nil {
		return err
	}
	if top || where.path == "data" && where.version == v1alpha1.KVVersion2 {
		where.path = ""
	}
	if problem == "" {
		problem = m.refused(config, by, where.part("metadata"), where)
	}
	if problem != "" {
		d.problem(by.who, problem)
		return nil
	}
	d.allow(by.who, where.part("metadata"), list)
	return nil
}

// part is a part of a KV engine's API, and what is needed there.
type part struct {
	name         string
	capabilities []string
}

// partsOf returns what an operation needs. What it reads besides what it does is how it finds out what became of a
// request whose answer was lost, or which version there is.
func partsOf(t *v1alpha1.VaultTask, where place) []part {
	spec := &t.Spec
	if where.version != v1alpha1.KVVersion2 {
		return unversioned(spec)
	}
	of := func(name string, capabilities ...string) part { return part{name, capabilities} }
	switch spec.Operation {
	case v1alpha1.OperationRead:
		return []part{of("data", read)}
	case v1alpha1.OperationWrite:
		if spec.CAS != nil && *spec.CAS > 0 {
			return []part{of("data", read, update)}
		}
		return []part{of("data", create, read, update)}
	case v1alpha1.OperationPatch:
		return []part{of("data", patch, read)}
	case v1alpha1.OperationDelete:
		if len(spec.Versions) > 0 {
			return []part{of("delete", update)}
		}
		return []part{of("delete", update), of("metadata", read)}
	case v1alpha1.OperationUndelete:
		return []part{of("undelete", update)}
	case v1alpha1.OperationDestroy:
		if len(spec.Versions) > 0 {
			return []part{of("destroy", update)}
		}
		return []part{of("destroy", update), of("metadata", read)}
	case v1alpha1.OperationReadMetadata:
		return []part{of("metadata", read)}
	case v1alpha1.OperationWriteMetadata:
		return []part{of("metadata", create, update)}
	case v1alpha1.OperationPatchMetadata:
		return []part{of("metadata", patch)}
	case v1alpha1.OperationDeleteMetadata:
		return []part{of("metadata", remove, read)}
	default: // List and the Generic operations have ways of their own
		return nil
	}
}

// unversioned is what an operation needs on a KV version 1 secret.
func unversioned(spec *v1alpha1.VaultTaskSpec) []part {
	of := func(capabilities ...string) []part { return []part{{"", capabilities}} }
	switch spec.Operation {
	case v1alpha1.OperationRead:
		return of(read)
	case v1alpha1.OperationWrite:
		if len(spec.Generate) > 0 && (spec.Overwrite == nil || !*spec.Overwrite) {
			return of(create, read) // it replaces nothing
		}
		return of(create, read, update)
	case v1alpha1.OperationDelete:
		return of(remove, read)
	default: // what only version 2 has
		return nil
	}
}

// partOf is the part by which a VaultConfig decides about an operation.
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
	default:
		return "data"
	}
}
