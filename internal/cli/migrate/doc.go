// Package migrate turns manifests of other ways from Vault into pods into Sallyport's: the Secrets Store CSI Driver
// with its provider for Vault, the External Secrets Operator, the Vault Secrets Operator, and Vault's agent injector.
//
// Each kind of theirs is read by fields, which remembers what was looked at: what nobody looked at is in the report, so
// that nothing of a manifest is lost without a word. What a kind makes, a Secret or the files of a volume, becomes a
// bundle; bundles become Connections, and take the places of those Secrets and volumes in pod templates.
package migrate

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Severity is what a note asks of its reader.
type Severity string

// Severities.
const (
	// NoEqual: Sallyport has nothing like it, so that it was left out.
	NoEqual Severity = "no equal"
	// Elsewhere something must be done before it works.
	Elsewhere Severity = "to do"
	// Differs: it works, and behaves in another way.
	Differs Severity = "differs"
)

// Note is a line of the report.
type Note struct {
	Severity Severity
	// Object of the input, as Kind namespace/name.
	Object string
	// Field of the object; empty for all of it.
	Field string
	// Sentence says why, and what to do.
	Sentence string
}

// String is the line.
func (n Note) String() string {
	at := n.Object
	if n.Field != "" {
		at += ", " + n.Field
	}
	return fmt.Sprintf("%-8s  %s: %s", n.Severity, at, n.Sentence)
}

// Options say what manifests leave to an installation.
type Options struct {
	// VaultURL is Vault's address for what names none.
	VaultURL string
	// CA is the ConfigMap with the authority of Vault's certificate, for what reads it from a disk or names none.
	CA *v1alpha1.ConfigMapKeyReference
	// Keys are the keys of synced Secrets, by name or namespace/name, where no manifest tells them.
	Keys map[string][]string
}

// Result is what was made of the input.
type Result struct {
	Configs     []*v1alpha1.VaultConfig
	Connections []*v1alpha1.Connection
	Workloads   []*Workload
	Notes       []Note
}

// Lossy tells whether something has no equal.
func (r *Result) Lossy() bool {
	return slices.ContainsFunc(r.Notes, func(n Note) bool { return n.Severity == NoEqual })
}

// migration is one run.
type migration struct {
	Options
	in    *Inventory
	notes []Note

	configs []*v1alpha1.VaultConfig
	// bundles in the order in which they were made.
	bundles []*bundle
	// secrets are the bundles that stand for a synced Secret, classes those for a SecretProviderClass.
	secrets, classes map[key]*bundle
	// restarts are the workloads that are to be rolled when their Connections change.
	restarts map[target]bool
}

// peers are what turns each kind of theirs into bundles.
func (m *migration) peers() map[schema.GroupKind]func(context.Context, *opened) error {
	csi := &providerClasses{m}
	eso := &externalSecrets{m, map[target]*store{}}
	vso := &vaultOperator{m}
	return map[schema.GroupKind]func(context.Context, *opened) error{
		{Group: groupCSI, Kind: "SecretProviderClass"}: csi.providerClass,
		{Group: groupESO, Kind: kindStore}:             eso.secretStore,
		{Group: groupESO, Kind: kindClusterStore}:      eso.secretStore,
		{Group: groupESO, Kind: "ExternalSecret"}:      eso.externalSecret,
		{Group: groupVSO, Kind: kindStatic}:            vso.staticSecret,
		{Group: groupVSO, Kind: "VaultDynamicSecret"}:  vso.dynamicSecret,
		{Group: groupVSO, Kind: "VaultPKISecret"}:      vso.pkiSecret,
	}
}

// Migrate turns what is in the inventory into Sallyport's.
func Migrate(ctx context.Context, in *Inventory, options Options) (*Result, error) {
	m := &migration{
		Options: options, in: in,
		secrets: map[key]*bundle{}, classes: map[key]*bundle{}, restarts: map[target]bool{},
	}
	known, peers, into := 0, m.peers(), &pods{m}
	agents := &injector{m, into}
	for _, object := range in.objects {
		peer, is := peers[object.GroupVersionKind().GroupKind()]
		if !is {
			known += m.stranger(object)
			continue
		}
		known++
		if err := peer(ctx, m.open(object)); err != nil {
			return nil, err
		}
	}
	var workloads []*Workload
	for _, object := range in.objects {
		w := openWorkload(object)
		if w == nil {
			known += into.elsewhere(object)
			continue
		}
		if agents.inject(w) {
			known++
		}
		into.volumes(w)
		into.environment(w)
		into.rolled(w)
		into.fixed(w)
		w.replaceLists()
		if w.changed {
			workloads = append(workloads, w)
		}
	}
	known += into.unlisted()
	if known == 0 {
		return nil, in.nothing()
	}
	return m.result(workloads), nil
}

func (m *migration) result(workloads []*Workload) *Result {
	r := &Result{Configs: m.configs, Workloads: workloads}
	for _, b := range m.bundles {
		if b.wanted {
			r.Connections = append(r.Connections, b.connection())
		}
	}
	if len(r.Connections) > 0 {
		m.note(Differs, "every Connection", "", `a mounted Connection has one file more, "type"; a program that reads every file of the `+
			`directory sees it`)
	}
	order := []Severity{NoEqual, Elsewhere, Differs}
	slices.SortStableFunc(m.notes, func(a, b Note) int {
		return cmp.Compare(slices.Index(order, a.Severity), slices.Index(order, b.Severity))
	})
	r.Notes = slices.Compact(m.notes)
	return r
}

// losses is how many things had no equal until now.
func (m *migration) losses() int {
	count := 0
	for _, n := range m.notes {
		if n.Severity == NoEqual {
			count++
		}
	}
	return count
}

// note writes a line of the report, each once.
func (m *migration) note(severity Severity, object, field, sentence string, args ...any) {
	if len(args) > 0 {
		sentence = fmt.Sprintf(sentence, args...)
	}
	n := Note{severity, object, field, sentence}
	if !slices.Contains(m.notes, n) {
		m.notes = append(m.notes, n)
	}
}
