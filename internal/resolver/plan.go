package resolver

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/status"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
)

// plan is the set of secrets that one value needs. A source that cannot be had carries its error until a reference
// needs it, so that the sentence names the place in value.
type plan struct {
	namespace string // of the Connection or VaultTask
	base      string // of the revision
	forVolume bool   // may share what other volumes were given a moment ago
	memory    *memory
	keysOnly  bool // no value is wanted, only whether the keys are there
	leadsIn   bool // fields of a reference lead into a value
	sources   []*source
	attached  []*source          // those that bare references search
	named     map[string]*source // attached secrets by name
	direct    map[string]*source // config:path references, by config and path
	served    FromMemory         // what was recalled, for Vault could not be reached
}

// newPlan finds out which secrets the references need; nothing is read yet. Attached secrets that no reference can mean
// are left out. A reference that can mean nothing is an error at once.
func newPlan(namespace string, attached []v1alpha1.VaultSecret, references []expression.Placed) (*plan, error) {
	p := &plan{namespace: namespace, named: map[string]*source{}, direct: map[string]*source{}}
	all := make([]*source, len(attached))
	for i := range attached {
		var err error
		if all[i], err = newSource(namespace, &attached[i]); err != nil {
			return nil, err
		}
		if attached[i].Name != "" || isSpread(attached[i]) {
			p.named[spreadName(attached, i)] = all[i]
		}
	}
	needed := map[*source]bool{}
	for i := range attached {
		if spreadsAll(attached[i]) {
			needed[all[i]], all[i].whole = true, true
		}
	}
	for _, placed := range references {
		ref := placed.Reference
		p.leadsIn = p.leadsIn || len(ref.Fields) > 0
		switch {
		case ref.Config != "":
			p.addDirect(ref)
			p.direct[ref.Config+"\x00"+ref.Path].want(ref)
		case ref.Secret != "":
			if p.named[ref.Secret] == nil {
				return nil, placed.In(fault.Terminal(v1alpha1.ReasonInvalidExpression,
					"%s names the secret %q, which is not among vaultSecrets (%s)", ref, ref.Secret, names(p.named)).
					WithRemedy("%s", unnamed(p.named, ref)))
			}
			needed[p.named[ref.Secret]] = true
			p.named[ref.Secret].want(ref)
		case len(all) == 0:
			return nil, placed.In(fault.Terminal(v1alpha1.ReasonInvalidExpression,
				"%s needs an attached secret, and there is none", ref).
				WithRemedy("name a VaultConfig and the path: %s; a Connection can also attach one (vaultSecrets)",
					expression.Reference{Config: "CONFIG", Path: "PATH", Key: ref.Key, Default: ref.Default}))
		default:
			p.attached = all
			for _, s := range all {
				needed[s] = true
				s.want(ref)
			}
		}
	}
	for _, s := range all {
		if needed[s] {
			p.sources = append(p.sources, s)
		}
	}
	named := 0
	for _, s := range p.sources {
		s.configRef.Namespace = ConfigKey(namespace, s.configRef).Namespace
		named += len(s.configRef.Namespace) + len(s.configRef.Name) + len(s.vaultNamespace) +
			len(s.location.EnginePath) + len(s.location.SecretPath)
	}
	if named > maxNamed {
		return nil, fault.Terminal(v1alpha1.ReasonTooLarge, "the paths of its %d secrets, with their VaultConfigs, take %d bytes, more than %d",
			len(p.sources), named, maxNamed).WithRemedy("use several Connections")
	}
	return p, nil
}

// maxNamed bounds the paths of the secrets that one value needs: they stand in status, for each replica once more, and
// are remembered with each volume.
const maxNamed = 64 << 10

// addDirect adds the secret of a reference that names config and path.
func (p *plan) addDirect(ref expression.Reference) {
	id := ref.Config + "\x00" + ref.Path
	if p.direct[id] != nil {
		return
	}
	p.direct[id] = &source{
		configRef: v1alpha1.VaultConfigReference{Name: ref.Config},
		location:  secrets.Location{SecretPath: ref.Path},
		label:     ref.Config + ":" + ref.Path,
	}
	p.sources = append(p.sources, p.direct[id])
}

// findConfigs finds the VaultConfig of every source.
func (p *plan) findConfigs(ctx context.Context, access access) {
	for _, s := range p.sources {
		s.findConfig(ctx, access, p.namespace)
	}
}

// deferWorkloads leaves out what only a pod can read, so that all else can be checked without one.
func (p *plan) deferWorkloads() {
	for _, s := range p.sources {
		s.deferred = s.err == nil && auth.IsWorkload(s.config)
	}
}

// open gives every source its session and its canonical path, and refuses what the VaultConfig does not let the
// namespace have.
func (p *plan) open(ctx context.Context, sessions *session.Sessions, access access, workload *auth.Workload) {
	inParallel(ctx, p.sources, func(s *source) { s.open(ctx, sessions, access, p.namespace, workload) })
}

// deferred names the VaultConfigs of what was left out.
func (p *plan) deferred() []string {
	var names []string
	for _, s := range p.sources {
		if s.deferred {
			names = append(names, s.config.Namespace+"/"+s.config.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// absent are the paths, in order, of secrets that are not there and need not be.
func (p *plan) absent() []string {
	var paths []string
	for _, s := range p.sources {
		if s.missing != nil {
			paths = append(paths, s.path)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// sharedPlaces are the places of what is read once for all volumes.
func (p *plan) sharedPlaces() []string {
	places := make([]string, 0, len(p.sources))
	for _, s := range p.sources {
		if !s.dynamic {
			places = append(places, s.place())
		}
	}
	return places
}

// observed describes the secrets that were read, without what is in them.
func (p *plan) observed() []v1alpha1.ObservedSecret {
	var observed []v1alpha1.ObservedSecret
	for _, s := range p.sources {
		if s.secret == nil && !s.dynamic || s.path == "" {
			continue
		}
		entry := v1alpha1.ObservedSecret{VaultConfig: s.configRef.Namespace + "/" + s.configRef.Name, Path: s.path}
		if !s.dynamic {
			entry.Version, entry.CreatedTime = s.secret.Version, status.Time(s.secret.CreatedTime)
		}
		observed = append(observed, entry)
	}
	slices.SortFunc(observed, func(a, b v1alpha1.ObservedSecret) int {
		return cmp.Or(strings.Compare(a.VaultConfig+" "+a.Path, b.VaultConfig+" "+b.Path), cmp.Compare(a.Version, b.Version))
	})
	// A secret that is attached and named by its path, too, is one.
	return slices.CompactFunc(observed, func(a, b v1alpha1.ObservedSecret) bool {
		return a.VaultConfig == b.VaultConfig && a.Path == b.Path && a.Version == b.Version
	})
}

// versions returns the versions of those secrets that have any, by path.
func (p *plan) versions() map[string]int64 {
	versions := map[string]int64{}
	for _, s := range p.sources {
		if version := s.version.number(); version > 0 {
			versions[s.path] = version
		}
	}
	return versions
}

// revision names the content of the plan's secrets together; false if that of one is not known. It is a digest of
// what the Connection says and of version numbers, never of a secret.
func (p *plan) revision() (string, bool) {
	digest := sha256.New()
	fmt.Fprintf(digest, "%s\n", p.base)
	for _, s := range p.sources {
		if s.err != nil || s.version == "" {
			return "", false
		}
		fmt.Fprintf(digest, "%s@%s\n", s.key, s.version)
	}
	return base64.RawURLEncoding.EncodeToString(digest.Sum(nil)), true
}

// revisionBase names a Connection as it is, with a volume's overrides.
func revisionBase(connection *v1alpha1.Connection, overrides map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s", connection.UID, connection.Spec.ContentDigest())
	for _, key := range slices.Sorted(maps.Keys(overrides)) {
		fmt.Fprintf(&b, " %q=%q", key, overrides[key])
	}
	return b.String()
}

// maxOffered is how many references a remedy offers.
const maxOffered = 3

// unnamed is the remedy for a reference to a secret that is not attached: the references that may be meant, written so
// that they can be copied.
func unnamed(attached map[string]*source, ref expression.Reference) string {
	var offered []string
	var known []string
	for _, name := range slices.Sorted(maps.Keys(attached)) {
		if strings.HasPrefix(name, "vaultSecrets[") { // it has none
			continue
		}
		known = append(known, name)
		meant := ref
		meant.Secret = name
		if text := meant.Offered(); text != "" && len(offered) < maxOffered {
			offered = append(offered, text)
		}
	}
	remedy := "give the secret that is meant this name"
	if len(offered) > 0 {
		remedy = "write " + strings.Join(offered, " or ") + ", or give the secret that is meant this name"
	}
	if ref.Whole {
		return remedy
	}
	dotted := expression.Reference{Default: ref.Default}
	dotted.Key = strings.Join(append([]string{ref.Secret, ref.Key}, ref.Fields...), ".")
	if len(known) == 1 {
		dotted.Secret = known[0]
	}
	if text := dotted.Offered(); text != "" {
		return remedy + "; a key with a dot in it stands in quotes: " + text
	}
	return remedy + "; a key with a dot in it stands in quotes"
}

func names(named map[string]*source) string {
	if len(named) == 0 {
		return "none has a name"
	}
	return strings.Join(slices.Sorted(maps.Keys(named)), ", ")
}
