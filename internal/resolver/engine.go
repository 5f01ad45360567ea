package resolver

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/abridged"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// DefaultRefreshInterval applies to Connections that name none.
const DefaultRefreshInterval = 60 * time.Second

// MinRefreshInterval is the shortest interval that the API accepts.
const MinRefreshInterval = 5 * time.Second

// minRefreshAfter bounds how soon a volume is told to ask again.
const minRefreshAfter = 100 * time.Millisecond

// Engine resolves Connections. It is safe for concurrent use; one serves the gRPC service and the controllers of a
// replica, so that they share reads.
type Engine struct {
	access   access
	sessions *session.Sessions
	reader   *secretReader
	changes  *changeBroadcaster
	backoff  *issueBackoff
	gates    gates
}

// NewEngine returns an engine that finds VaultConfigs, and the metadata of namespaces, with objects, a cached reader.
func NewEngine(objects client.Reader, sessions *session.Sessions, clk clock.PassiveClock) *Engine {
	reader := newSecretReader(clk)
	return &Engine{
		access: access{objects: objects}, sessions: sessions, reader: reader, backoff: newIssueBackoff(clk),
		gates:   newGates(),
		changes: newChangeBroadcaster(reader.versions.instance, reader.versions.key),
	}
}

// Check checks a Connection without a pod, as its controller does: whether every reference leads to a key, and whether
// files can be made from what is known without Vault. It evaluates nothing and makes no file, so that what it says
// never depends on a value. Dynamic secrets, and what only a pod can read, are checked as far as that goes without.
// With an empty revision every secret is read from Vault; with one, Vault is asked at most once per secret and refresh
// interval, whatever the number of callers. The error is a *fault.Fault whose sentence begins with the Connection's
// name.
func (e *Engine) Check(ctx context.Context, connection *v1alpha1.Connection, revision string) (*Resolved, error) {
	resolved, err := e.resolve(transport.OnBehalfOf(ctx, connection.Namespace), connection, revision, nil)
	return resolved, seenFrom(connection, err)
}

// Resolve resolves a Connection for a volume. It is Check otherwise. The dynamic secrets that it had Vault issue for
// the volume are in Issued also if it fails.
func (e *Engine) Resolve(ctx context.Context, connection *v1alpha1.Connection, volume Volume) (*Resolved, error) {
	resolved, err := e.resolve(transport.OnBehalfOf(ctx, connection.Namespace), connection, volume.Revision, &volume)
	return resolved, seenFrom(connection, err)
}

// Values resolves a Connection's value for use inside the controller, without a pod. Every secret is read from Vault.
// The result holds secrets and is the caller's to forget. The error is a *fault.Fault whose sentence begins with the
// Connection's name.
func (e *Engine) Values(ctx context.Context, connection *v1alpha1.Connection) (map[string]any, error) {
	values, err := e.values(transport.OnBehalfOf(ctx, connection.Namespace), connection)
	return values, seenFrom(connection, err)
}

// Evaluate resolves the references in a value that has no attached secrets, such as a VaultTask's data; every reference
// must name config and path itself. VaultConfigs with workload: true log in as the workload; nil: they cannot be read.
// The result holds secrets and is the caller's to forget.
func (e *Engine) Evaluate(
	ctx context.Context, namespace string, value *expression.Value, workload *auth.Workload,
) (map[string]any, error) {
	m := &memory{gates: e.gates, namespace: namespace}
	defer m.release()
	return e.evaluate(transport.OnBehalfOf(ctx, namespace), m, nil, value, workload)
}

// Begin says that a volume is being served, until done is called: volumes that are served at the same time share reads.
func (e *Engine) Begin() (done func()) { return e.reader.burst.Begin() }

// Undelivered says that the dynamic secrets of a volume did not reach it, so that they are not issued again at once.
func (e *Engine) Undelivered(resolved *Resolved, err error) {
	if len(resolved.Issued) > 0 {
		e.backoff.Failed(resolved.namespace, resolved.base, err)
	}
}

// Changed tells the engine that Sallyport has changed the secret at a Place: mounted volumes get it at once.
func (e *Engine) Changed(place string) {
	e.reader.forget(place)
	e.changes.Announce(place) // afterwards, or a quick node would find the version of before
}

// ForgetConfig drops the values that are remembered for an outage of Vault, read through a VaultConfig that was edited
// or is gone: nobody gets them any more.
func (e *Engine) ForgetConfig(uid types.UID) { e.reader.outages.ForgetConfig(uid) }

// WaitForChanges waits for secrets that Sallyport has changed after the cursor, until ctx ends or stop is closed, and
// returns their change keys and the cursor of the newest.
func (e *Engine) WaitForChanges(
	ctx context.Context, stop <-chan struct{}, cursor string,
) (newest string, keys []string) {
	return e.changes.Wait(ctx, stop, cursor)
}

// Config returns the VaultConfig that a reference from the given namespace means, if that namespace may use it now for
// anything at all. For what, Permit says: for a VaultConfig of another namespace it must be asked before each use.
func (e *Engine) Config(
	ctx context.Context, namespace string, ref v1alpha1.VaultConfigReference,
) (*v1alpha1.VaultConfig, error) {
	return e.access.config(ctx, namespace, ref)
}

// Permit returns nil if the namespace may use the VaultConfig so, and else a fault NamespaceNotAllowed. A VaultConfig's
// own namespace may use it for everything. The path must be the one that is sent to Vault; Session.Confirm finds out
// path and engine.
func (e *Engine) Permit(ctx context.Context, config *v1alpha1.VaultConfig, use Use) error {
	return e.access.permit(ctx, config, use)
}

func (e *Engine) resolve(
	ctx context.Context, connection *v1alpha1.Connection, revision string, volume *Volume,
) (*Resolved, error) {
	if err := mustBeWhole(connection); err != nil {
		return &Resolved{}, err
	}
	m, err := e.gates.begin(ctx, connection)
	if err != nil {
		return &Resolved{}, err
	}
	defer m.release()
	doc, err := newDocument(connection, volume.overrides())
	if err != nil {
		return &Resolved{}, err
	}
	p, err := newPlan(connection.Namespace, connection.Spec.VaultSecrets, doc.references())
	if err != nil {
		return &Resolved{}, err
	}
	p.memory, m.parses = m, p.leadsIn
	p.base, p.forVolume, p.keysOnly = revisionBase(connection, volume.overrides()), volume != nil, volume == nil
	if err := p.forPod(ctx, volume.pod()); err != nil {
		return &Resolved{}, err
	}
	p.findConfigs(ctx, e.access)
	if volume == nil {
		p.deferWorkloads()
	}
	p.open(ctx, e.sessions, e.access, volume.workload())
	interval := RefreshInterval(connection)
	if revision != "" {
		e.reader.poll(ctx, p, interval)
		e.reader.heed(p, volume.workload())
		if volume != nil {
			p.keyDynamic()
		}
		p.keepIssued(volume.leaseNames()) // only now is it known of every source whether it is dynamic
		if current, ok := p.revision(); ok && current == revision {
			resolved := &Resolved{Revision: current, Unchanged: true}
			return e.describe(resolved, p, interval), nil
		}
	}
	if volume == nil {
		return e.checked(ctx, doc, p, interval)
	}
	e.reader.readAll(ctx, p)
	e.reader.heed(p, volume.workload())
	if revision == "" { // a volume that has files keeps them
		e.reader.recall(ctx, p, e.sessions, e.access, volume.workload())
	}
	if doc.spreads {
		if err := doc.spreadRead(p.keysOf); err != nil {
			return &Resolved{}, err
		}
	}
	return e.files(ctx, doc, p, interval, volume.files())
}

// checked is what Check can say of a Connection, whose files only a pod gets.
func (e *Engine) checked(ctx context.Context, doc *document, p *plan, interval time.Duration) (*Resolved, error) {
	check := func() error { return p.memory.making(ctx, func() error { return doc.checkFiles(ctx) }) }
	if !doc.spreads {
		if err := check(); err != nil {
			return &Resolved{}, err
		}
	}
	e.reader.readAll(ctx, p)
	e.reader.heed(p, nil)
	p.checkIssuable(ctx)
	if doc.spreads {
		if err := doc.spreadRead(p.keysOf); err != nil {
			return &Resolved{}, err
		}
		if err := check(); err != nil {
			return &Resolved{}, err
		}
	}
	if err := doc.checkReferences(p.lookup); err != nil {
		return &Resolved{}, err
	}
	resolved := &Resolved{
		Secrets: p.observed(), RefreshAfter: e.refreshAfter(p, interval), Deferred: p.deferred(), Dynamic: p.dynamicPaths(),
		Absent: p.absent(),
	}
	resolved.Revision, _ = p.revision()
	return resolved, nil
}

// files issues the dynamic secrets of a volume and makes the files, other than those that it can keep.
func (e *Engine) files(
	ctx context.Context, doc *document, p *plan, interval time.Duration, held map[string]string,
) (*Resolved, error) {
	resolved := &Resolved{namespace: p.namespace, base: p.base, FromMemory: p.served}
	var kept map[string]bool
	isDynamic := len(p.dynamic()) > 0
	if isDynamic {
		p.keyDynamic()
		// Without dynamic secrets: none is issued where something else is wrong.
		var origins map[string]dynamicFile
		err := p.memory.making(ctx, func() (err error) { origins, err = doc.dynamicFiles(ctx, p); return err })
		if err != nil {
			return resolved, err
		}
		kept = p.keepFiles(origins, held)
		if err := e.issue(ctx, p, resolved); err != nil {
			return resolved, err
		}
	}
	err := p.memory.making(ctx, func() (err error) {
		if resolved.Files, err = doc.files(ctx, p.lookup, kept); err == nil && isDynamic {
			resolved.Digests, err = doc.digests(ctx, p)
		}
		return err
	})
	if err != nil {
		e.Undelivered(resolved, err)
		return resolved, err
	}
	if len(resolved.Issued) > 0 {
		e.backoff.Reset(p.base)
	}
	resolved.Secrets = p.observed()
	resolved.Revision, _ = p.revision()
	return e.describe(resolved, p, interval), nil
}

// issue has Vault issue what the volume does not hold, unless that could not be used lately.
func (e *Engine) issue(ctx context.Context, p *plan, resolved *Resolved) error {
	if !slices.ContainsFunc(p.dynamic(), func(s *source) bool { return !s.held }) {
		return nil
	}
	if err := e.backoff.Blocked(p.base); err != nil {
		return err
	}
	resolved.Issued = p.issue(ctx, e.reader)
	return nil
}

// describe adds what is told of the secrets also if the files are unchanged.
func (e *Engine) describe(resolved *Resolved, p *plan, interval time.Duration) *Resolved {
	resolved.RefreshAfter = e.refreshAfter(p, interval)
	resolved.Versions, resolved.SecretKeys = p.versions(), p.secretKeys()
	if p.forVolume {
		resolved.ChangeKeys = e.changes.keysOf(p.sharedPlaces())
	}
	return resolved
}

// refreshAfter is when the next read of one of the secrets is due. Whoever was answered with a version that is no
// longer the latest, for somebody else has read meanwhile, comes again at once: at that next read it would be two
// intervals old.
func (e *Engine) refreshAfter(p *plan, interval time.Duration) time.Duration {
	after := e.reader.versions.untilGrid(interval)
	for _, s := range p.sources {
		switch {
		case s.key == "" || s.dynamic:
		case e.reader.versions.Outdated(s.key, s.fields(), s.version):
			return minRefreshAfter
		default:
			after = min(after, e.reader.versions.NextRead(s.key, interval))
		}
	}
	return max(after, minRefreshAfter)
}

// values resolves a Connection's value without a pod.
func (e *Engine) values(ctx context.Context, connection *v1alpha1.Connection) (map[string]any, error) {
	if err := mustBeWhole(connection); err != nil {
		return nil, err
	}
	m, err := e.gates.begin(ctx, connection)
	if err != nil {
		return nil, err
	}
	defer m.release()
	value, err := expression.ParseValue(connection.Spec.Value)
	if err != nil {
		return nil, err
	}
	return e.evaluate(ctx, m, connection.Spec.VaultSecrets, value, nil)
}

// evaluate resolves the references in a value without a pod.
func (e *Engine) evaluate(
	ctx context.Context, m *memory, attached []v1alpha1.VaultSecret, value *expression.Value, workload *auth.Workload,
) (map[string]any, error) {
	p, err := newPlan(m.namespace, attached, value.References())
	if err != nil {
		return nil, err
	}
	p.memory, m.parses = m, p.leadsIn
	p.findConfigs(ctx, e.access)
	p.open(ctx, e.sessions, e.access, workload)
	e.reader.readAll(ctx, p)
	p.refuseDynamic()
	var values map[string]any
	err = m.making(ctx, func() (err error) { values, err = value.Evaluate(ctx, p.lookup); return err })
	return values, err
}

// mustBeWhole keeps a Connection from being resolved that came from a cache and lacks its value: a pod would be given
// fewer files than its author wrote.
func mustBeWhole(connection *v1alpha1.Connection) error {
	if abridged.Is(connection) {
		return fault.Transient(v1alpha1.ReasonInternal, "the value is not known, for what came from the cache is abridged")
	}
	return nil
}

// RefreshInterval is how often the volumes of a Connection look for changes.
func RefreshInterval(connection *v1alpha1.Connection) time.Duration {
	if connection.Spec.RefreshInterval == nil {
		return DefaultRefreshInterval
	}
	return max(connection.Spec.RefreshInterval.Duration, MinRefreshInterval)
}

// seenFrom returns the fault as the Connection sees it, with the Connection's name in front (Connection shop/db, key
// "password": …): what only an edit of a VaultConfig cures, the Connection waits for. It returns nil, the interface,
// for nil.
func seenFrom(connection *v1alpha1.Connection, err error) error {
	if err == nil {
		return nil
	}
	subject := fault.Subject{Kind: fault.KindConnection, Namespace: connection.Namespace, Name: connection.Name}
	return fault.InObject(err, subject).For(subject)
}
