package policy

import (
	"context"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/tenancy"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// Objects are what policies are made of.
type Objects struct {
	Configs     []v1alpha1.VaultConfig
	Connections []v1alpha1.Connection
	Tasks       []v1alpha1.VaultTask
	// Labels of namespaces, by name.
	Labels map[string]map[string]string
	// Partial: a VaultConfig that is not among them is taken for one that says nothing.
	Partial bool
	// Unseen: what other namespaces than a VaultConfig's own have was not looked at.
	Unseen bool
}

// maker makes the policies of one set of objects.
type maker struct {
	engines *engines
	partial bool
	labels  map[string]map[string]string
	// configs are the identities that are known, by subject; those that a VaultTask brings, too.
	configs     map[string]*v1alpha1.VaultConfig
	drafts      map[string]*draft
	connections map[types.NamespacedName]*v1alpha1.Connection
}

// Make returns the policy of each VaultConfig, and of each identity that a VaultTask brings itself, in order of name.
// With a nil ask nobody is asked what lies at an engine's path.
func Make(ctx context.Context, objects *Objects, ask Ask) ([]Policy, error) {
	m := &maker{
		engines: &engines{ask: ask, seen: map[string]map[string]bool{}}, labels: objects.Labels,
		partial: objects.Partial,
		configs: map[string]*v1alpha1.VaultConfig{}, drafts: map[string]*draft{},
		connections: map[types.NamespacedName]*v1alpha1.Connection{},
	}
	for n := range objects.Configs {
		m.identity(&objects.Configs[n])
	}
	for n := range objects.Connections {
		c := &objects.Connections[n]
		m.connections[client.ObjectKeyFromObject(c)] = c
		for _, secret := range c.Status.Secrets {
			m.saw(fault.KindVaultConfig+" "+secret.VaultConfig, secret.Path)
		}
	}
	for n := range objects.Tasks {
		if t := &objects.Tasks[n]; t.Spec.VaultConfigRef != nil && t.Status.Result != nil {
			m.saw(subjectOf(resolver.ConfigKey(t.Namespace, *t.Spec.VaultConfigRef)), t.Status.Result.Path)
		}
	}
	for n := range objects.Connections {
		if err := m.connection(ctx, &objects.Connections[n]); err != nil {
			return nil, err
		}
	}
	for n := range objects.Tasks {
		if err := m.task(ctx, &objects.Tasks[n]); err != nil {
			return nil, err
		}
	}
	var made []Policy
	for _, name := range slices.Sorted(maps.Keys(m.drafts)) {
		d := m.drafts[name]
		if objects.Unseen && len(m.configs[name].Spec.AllowedNamespaces) > 0 {
			d.problem(d.For, "what other namespaces use of it was not looked at, for you may not list their Connections and VaultTasks")
		}
		d.session(m.configs[name])
		made = append(made, d.finished())
	}
	return made, nil
}

func subjectOf(config types.NamespacedName) string {
	return fault.Subject{Kind: fault.KindVaultConfig, Namespace: config.Namespace, Name: config.Name}.String()
}

func (m *maker) saw(subject, path string) {
	if m.engines.seen[subject] == nil {
		m.engines.seen[subject] = map[string]bool{}
	}
	m.engines.seen[subject][path] = true
}

// identity notes an identity and begins its policy.
func (m *maker) identity(config *v1alpha1.VaultConfig) *draft {
	name := transport.SubjectOf(config).String()
	if m.drafts[name] == nil {
		m.configs[name], m.drafts[name] = config, newDraft(config)
	}
	return m.drafts[name]
}

// of returns the policy of a VaultConfig that is used; nil if it is not among the objects.
func (m *maker) of(config types.NamespacedName) (*draft, *v1alpha1.VaultConfig) {
	name := subjectOf(config)
	if m.drafts[name] == nil && m.partial {
		stub := &v1alpha1.VaultConfig{}
		stub.Namespace, stub.Name = config.Namespace, config.Name
		m.identity(stub).note("the VaultConfig is not among the files: what it says of engine, namespace and login is not known")
	}
	return m.drafts[name], m.configs[name]
}

// connection adds what the pods that mount a Connection need.
func (m *maker) connection(ctx context.Context, c *v1alpha1.Connection) error {
	who := fault.KindConnection + " " + c.Namespace + "/" + c.Name
	needs, err := resolver.Needs(c)
	if err != nil {
		m.tellAll(c.Namespace, c.Spec.VaultSecrets, who, fault.From(err).Message())
		return nil
	}
	return m.reads(ctx, who, c.Namespace, needs)
}

// tellAll says in the policy of each VaultConfig that an object names why it is left out; in those of its namespace if
// it names none.
func (m *maker) tellAll(namespace string, named []v1alpha1.VaultSecret, who, problem string) {
	told := false
	for n := range named {
		if d, _ := m.of(resolver.ConfigKey(namespace, named[n].VaultConfigRef)); d != nil {
			d.problem(who, problem)
			told = true
		}
	}
	for _, d := range m.drafts {
		if !told && d.Subject.Namespace == namespace {
			d.problem(who, problem)
		}
	}
}

// reads adds what references need.
func (m *maker) reads(ctx context.Context, who, namespace string, needs []resolver.Need) error {
	for _, need := range needs {
		d, config := m.of(need.Config)
		if d == nil {
			continue
		}
		at := need.Location
		if at.EnginePath == "" {
			at.EnginePath = config.Spec.EnginePath
		}
		var err error
		if at.Below, err = resolver.WayBelow(config, need.VaultNamespace); err != nil {
			d.problem(who, fault.From(err).Message())
			continue
		}
		if err := m.readAt(ctx, d, config, use{who: who, namespace: namespace}, at); err != nil {
			return err
		}
	}
	return nil
}

// use is by whom something is used, and for what.
type use struct {
	who, namespace string
	operation      v1alpha1.VaultTaskOperation
}

func (m *maker) readAt(
	ctx context.Context, d *draft, config *v1alpha1.VaultConfig, by use, at secrets.Location,
) error {
	where, problem, err := m.locate(ctx, d, config, at)
	if err != nil {
		return err
	}
	if problem == "" && secrets.SystemPath(where.data()) != "" && where.version == notKV {
		problem = quote(where.data()) + " may be Vault's own, and is never read"
	}
	if at.Write {
		by.operation = v1alpha1.OperationGenericWrite
	}
	if problem == "" {
		problem = m.refused(config, by, where.data(), where)
	}
	switch {
	case problem != "":
		d.problem(by.who, problem)
		return nil
	case at.Write:
		d.allow(by.who, where.data(), writes(where.path)...)
		d.hasLeases(at.Below, false)
	default:
		d.allow(by.who, where.data(), read)
		if where.version != v1alpha1.KVVersion2 && dynamic(where.path) {
			d.hasLeases(at.Below, true)
		}
	}
	return nil
}

// place is a secret's, in an engine whose kind is known.
type place struct {
	engine, path string
	version      v1alpha1.KVVersion
}

// data is where a secret itself is.
func (p place) data() string { return p.part("data") }

// part is what KV version 2 has at a part of its API; all other engines have but one.
func (p place) part(name string) string {
	parts := []string{p.engine}
	if p.version == v1alpha1.KVVersion2 {
		parts = append(parts, name)
	}
	if p.path != "" {
		parts = append(parts, p.path)
	}
	return strings.Join(parts, "/")
}

// kv2Engine is the engine if it keeps versions.
func (p place) kv2Engine() string {
	if p.version == v1alpha1.KVVersion2 {
		return p.engine
	}
	return ""
}

// locate finds out what lies at a location, or says why nothing can.
func (m *maker) locate(
	ctx context.Context, d *draft, config *v1alpha1.VaultConfig, at secrets.Location,
) (found place, problem string, err error) {
	if at.EnginePath == "" {
		return place{}, "no engine is named for " + quote(at.SecretPath) + ": set enginePath with the secret or in the VaultConfig", nil
	}
	engine, err := transport.CleanPath("enginePath", at.EnginePath)
	if err != nil {
		return place{}, fault.From(err).Message(), nil
	}
	path, err := transport.CleanPath("secretPath", at.SecretPath)
	if err != nil {
		return place{}, fault.From(err).Message(), nil
	}
	version, err := m.engines.versionOf(ctx, d, config, at)
	if err != nil {
		return place{}, "", err
	}
	if version == v1alpha1.KVVersion2 {
		path = strings.TrimPrefix(path, "data/")
	}
	return place{transport.PathBelow(at.Below, engine), path, version}, "", nil
}

// refused says why a VaultConfig does not let a namespace have a path.
func (m *maker) refused(config *v1alpha1.VaultConfig, by use, path string, in place) string {
	labels := m.labels[by.namespace]
	if labels == nil {
		labels = map[string]string{}
	}
	err := tenancy.Permit(config, labels, tenancy.Use{
		Namespace: by.namespace, Path: path, KV2Engine: in.kv2Engine(), Operation: by.operation,
	})
	if err == nil {
		return ""
	}
	return fault.From(err).Message()
}
