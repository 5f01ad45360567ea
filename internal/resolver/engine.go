// Package resolver turns a Connection into the files of one pod's volume: it authorises the request, reads the secrets from
// Vault, coalescing concurrent reads, watches their versions for all volumes that use them, and serves the result to the node
// plugin over gRPC.
//
// It keeps no secret value: values live in memory while requests are in flight. It never talks to Vault itself (that is
// package vault) and knows nothing of volumes and mounts (that is package node).
package resolver

import (
	"context"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/lease"
	"sallyport.dev/sallyport/internal/projection"
	"sallyport.dev/sallyport/internal/vault"
)

// DefaultRefreshInterval applies to Connections that name none.
const DefaultRefreshInterval = 60 * time.Second

// MinRefreshInterval is the shortest interval that the API accepts.
const MinRefreshInterval = 5 * time.Second

// Engine resolves Connections. It is safe for concurrent use; one serves the gRPC service and the controllers of a replica,
// so that they share reads.
type Engine struct {
	objects  client.Reader
	sessions *vault.Sessions
	clock    clock.PassiveClock
	reads    singleflight.Group
	answers  answers
	rounds   rounds
	notices  notices
	brakes   brakes
}

// NewEngine returns an engine that finds VaultConfigs, and the metadata of namespaces, with objects, a cached reader.
func NewEngine(objects client.Reader, sessions *vault.Sessions, clk clock.PassiveClock) *Engine {
	e := &Engine{
		objects: objects, sessions: sessions, clock: clk, answers: newAnswers(clk), rounds: newRounds(clk),
		brakes: brakes{clock: clk, known: map[string]*brake{}},
	}
	e.notices = newNotices(e.rounds.instance, e.rounds.key)
	return e
}

// Changed tells the engine that Sallyport has changed the secret at a path of Vault's API: mounted volumes get it at once.
func (e *Engine) Changed(path string) {
	e.rounds.changed(path)
	e.answers.changed(path)
	e.notices.add(path) // afterwards, or a quick node would find the old round
}

// Serving says that a volume is being served, until done is called: volumes that are served at the same time share reads.
func (e *Engine) Serving() (done func()) { return e.answers.serve() }

// Undelivered says that what was made for a volume did not reach it, so that the same is not made again at once.
func (e *Engine) Undelivered(resolved *Resolved, err error) {
	if len(resolved.Made) > 0 {
		e.brakes.wasted(resolved.base, err)
	}
}

// WaitForChanges waits for secrets that Sallyport has changed after the cursor, until ctx ends or stop is closed, and returns their topics and the
// cursor of the newest.
func (e *Engine) WaitForChanges(ctx context.Context, stop <-chan struct{}, cursor string) (newest string, topics []string) {
	return e.notices.wait(ctx, stop, cursor)
}

// Resolved is what a Connection is at one moment.
type Resolved struct {
	// Revision names the content: it changes when the Connection, a VaultConfig or the version of a secret does.
	Revision string
	// Unchanged is true when the caller's revision is still current; Files and Secrets are empty then.
	Unchanged bool
	// Files of the volume.
	Files []projection.File
	// Secrets that were read, in order of path.
	Secrets []v1alpha1.ObservedSecret
	// RefreshAfter is when to ask again.
	RefreshAfter time.Duration
	// Deferred are the VaultConfigs, in order of name, that only a pod can log in to. Without one, what they hold was not read; all else
	// was checked, and there are no Files.
	Deferred []string
	// PerVolume are the paths, in order, of secrets that are made for each volume. Without a volume none was made, and there are no Files.
	PerVolume []string
	// Made are the secrets that Vault made for the volume. They are the caller's to give back if they do not reach it.
	Made []lease.Made
	// Slots of all secrets that are made for the volume, also if Unchanged.
	Slots []string
	// Versions of the secrets by path, also if Unchanged; only those that have versions.
	Versions map[string]int64
	// Topics of the secrets, also if Unchanged; only for a volume.
	Topics []string

	// base of the revision: the Connection as it is, with the volume's overrides.
	base string
}

// Check resolves a Connection on behalf of nobody, as its controller does: what is made for each volume, or read as the pod, is only checked
// as far as that goes without. With an empty revision every secret is read from Vault; with one, Vault is asked at most once per secret and
// refresh interval, whatever the number of callers. The error is a *fault.Fault whose sentence begins with the Connection's name.
func (e *Engine) Check(ctx context.Context, connection *v1alpha1.Connection, revision string) (*Resolved, error) {
	return e.located(ctx, connection, revision, nil)
}

// Resolve resolves a Connection for a volume. It is Check otherwise. What it had Vault make for the volume is in Made also if it fails.
func (e *Engine) Resolve(ctx context.Context, connection *v1alpha1.Connection, volume Volume) (*Resolved, error) {
	return e.located(ctx, connection, volume.Revision, &volume)
}

func (e *Engine) located(ctx context.Context, connection *v1alpha1.Connection, revision string, volume *Volume) (*Resolved, error) {
	resolved, err := e.resolve(ctx, connection, revision, volume)
	if err != nil {
		return resolved, located(connection, err)
	}
	return resolved, nil
}

func (e *Engine) resolve(ctx context.Context, connection *v1alpha1.Connection, revision string, volume *Volume) (*Resolved, error) {
	var overrides map[string]string
	if volume != nil {
		overrides = volume.Overrides
	}
	doc, err := newDocument(connection, overrides)
	if err != nil {
		return &Resolved{}, err
	}
	plan, err := e.plan(ctx, connection.Namespace, connection.Spec.VaultSecrets, doc.references())
	if err != nil {
		return &Resolved{}, err
	}
	interval := RefreshInterval(connection)
	base := revisionBase(connection, overrides)

	if volume == nil {
		plan.deferWorkloads()
		e.open(ctx, plan, nil)
	} else {
		plan.forVolume = true
		e.open(ctx, plan, volume.Workload)
	}
	if revision != "" {
		e.poll(ctx, plan, interval)
		if volume != nil {
			plan.hold(volume.Held) // only now is it known of every source whether it is made for each volume
		}
		if current, ok := plan.revision(base); ok && current == revision {
			return &Resolved{
				Revision: current, Unchanged: true, RefreshAfter: e.refreshAfter(plan, interval), Versions: plan.versions(), Topics: e.topics(plan),
				Slots: plan.slots(),
			}, nil
		}
	}
	e.read(ctx, plan)
	// Without what is made for the volume: nothing is made where something else is wrong.
	if err := doc.check(plan.lookup); err != nil {
		return &Resolved{}, err
	}
	if volume == nil {
		e.mayIssue(ctx, plan)
		if incomplete := plan.incomplete(); len(incomplete) > 0 {
			if err := doc.check(plan.lookup); err != nil {
				return &Resolved{}, err
			}
			return &Resolved{Secrets: plan.observed(), RefreshAfter: e.refreshAfter(plan, interval), Deferred: plan.deferred(), PerVolume: plan.paths()}, nil
		}
	}
	resolved := &Resolved{base: base}
	if volume != nil && len(plan.perVolume()) > 0 {
		if err := e.brakes.on(base); err != nil {
			return resolved, err
		}
		resolved.Made = e.issue(ctx, plan)
	}
	if resolved.Files, err = doc.files(plan.lookup); err != nil {
		resolved.Files = nil
		if len(resolved.Made) > 0 {
			e.brakes.wasted(base, err)
		}
		return resolved, err
	}
	if len(resolved.Made) > 0 {
		e.brakes.used(base)
	}
	resolved.Revision, _ = plan.revision(base)
	resolved.Secrets, resolved.RefreshAfter = plan.observed(), e.refreshAfter(plan, interval)
	resolved.Versions, resolved.Topics, resolved.Slots = plan.versions(), e.topics(plan), plan.slots()
	return resolved, nil
}

// Evaluate resolves the references in a value that has no attached secrets, such as a VaultTask's data; every reference
// must name config and path itself. The result holds secrets and is the caller's to forget.
func (e *Engine) Evaluate(ctx context.Context, namespace string, value *expression.Value) (map[string]any, error) {
	return e.evaluate(ctx, namespace, nil, value)
}

// topics of the secrets, for a volume.
func (e *Engine) topics(plan *plan) []string {
	if !plan.forVolume {
		return nil
	}
	topics := make([]string, 0, len(plan.sources))
	for _, source := range plan.sources {
		if !source.perVolume {
			topics = append(topics, e.notices.topic(source.path))
		}
	}
	return topics
}

func (e *Engine) refreshAfter(plan *plan, interval time.Duration) time.Duration {
	after := interval
	for _, source := range plan.sources {
		if source.key == "" || source.perVolume {
			continue
		}
		after = min(after, e.rounds.due(source.key, interval))
	}
	return max(after, 100*time.Millisecond)
}

// RefreshInterval is how often the volumes of a Connection look for changes.
func RefreshInterval(connection *v1alpha1.Connection) time.Duration {
	if connection.Spec.RefreshInterval == nil {
		return DefaultRefreshInterval
	}
	return max(connection.Spec.RefreshInterval.Duration, MinRefreshInterval)
}

// located puts the Connection's name in front of a fault: Connection shop/db, key "password": …
func located(connection *v1alpha1.Connection, err error) *fault.Fault {
	subject := fault.Subject{Kind: fault.KindConnection, Namespace: connection.Namespace, Name: connection.Name}
	return fault.InObject(err, subject)
}
