package resolver

import (
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

// plan is the set of secrets that one value needs. A source that cannot be had carries its error until a reference needs it, so
// that the sentence names the place in value.
type plan struct {
	namespace string // that asks
	forVolume bool   // may share what other volumes were given a moment ago
	sources   []*source
	attached  []*source          // those that bare references search
	named     map[string]*source // attached secrets by name
	direct    map[string]*source // config:path references, by config and path
}

// source is one secret in Vault, and what is known of it during one request.
type source struct {
	configRef v1alpha1.VaultConfigReference
	location  secrets.Location
	label     string // how a sentence calls it

	config  *v1alpha1.VaultConfig
	session *session.Session
	path    string // as Vault's API has it, with the engine
	key     string // coalescing key; empty until the session is open
	secret  *secrets.Secret
	marker  string // names the content: a version, or a sequence number for engines without versions
	err     error
	// deferred: only a pod can read it, and here is none.
	deferred bool

	// perVolume: it is made for each volume, and nobody else gets it.
	perVolume bool
	issued    *secrets.Issued
}

// absent: nobody gets it here, so that a reference to it is checked only as far as that goes.
func (s *source) absent() bool { return s.deferred || s.perVolume && s.secret == nil }

// plan finds out which secrets the references need; nothing is read yet. Attached secrets that no reference can mean are
// left out. A reference that can mean nothing is an error at once.
func (e *Engine) plan(ctx context.Context, namespace string, attached []v1alpha1.VaultSecret, references []expression.Placed) (*plan, error) {
	p := &plan{namespace: namespace, named: map[string]*source{}, direct: map[string]*source{}}
	all := make([]*source, len(attached))
	for i, secret := range attached {
		all[i] = &source{
			configRef: secret.VaultConfigRef,
			location:  secrets.Location{EnginePath: secret.EnginePath, SecretPath: secret.SecretPath, KVVersion: secret.KVVersion},
			label:     secret.Name,
		}
		if secret.Version != nil {
			all[i].location.Version = *secret.Version
		}
		if err := all[i].write(secret); err != nil {
			return nil, err
		}
		if secret.Name != "" {
			p.named[secret.Name] = all[i]
		} else {
			all[i].label = configKey(namespace, secret.VaultConfigRef).Name + ":" + secret.SecretPath
		}
	}
	needed := map[*source]bool{}
	for _, placed := range references {
		ref := placed.Reference
		switch {
		case ref.Config != "":
			id := ref.Config + "\x00" + ref.Path
			if p.direct[id] == nil {
				p.direct[id] = &source{
					configRef: v1alpha1.VaultConfigReference{Name: ref.Config},
					location:  secrets.Location{SecretPath: ref.Path},
					label:     ref.Config + ":" + ref.Path,
				}
				p.sources = append(p.sources, p.direct[id])
			}
		case ref.Secret != "":
			if p.named[ref.Secret] == nil {
				return nil, placed.In(fault.Terminal(v1alpha1.ReasonInvalidExpression,
					"%s names the secret %q, which is not among vaultSecrets (%s)", ref, ref.Secret, names(p.named)))
			}
			needed[p.named[ref.Secret]] = true
		case len(all) == 0:
			return nil, placed.In(fault.Terminal(v1alpha1.ReasonInvalidExpression,
				"%s needs an attached secret, and there is none; attach one, or name config and path: vault.secret(config:path.key)", ref))
		default:
			p.attached = all
			for _, source := range all {
				needed[source] = true
			}
		}
	}
	for _, source := range all {
		if needed[source] {
			p.sources = append(p.sources, source)
		}
	}
	for _, source := range p.sources {
		source.configRef.Namespace = configKey(namespace, source.configRef).Namespace
	}
	e.findConfigs(ctx, p)
	return p, nil
}

// findConfigs finds the VaultConfig of every source.
func (e *Engine) findConfigs(ctx context.Context, p *plan) {
	for _, source := range p.sources {
		config, err := e.Config(ctx, p.namespace, source.configRef)
		if err != nil {
			source.err = err
			continue
		}
		source.config = config
		if source.location.EnginePath == "" {
			source.location.EnginePath = config.Spec.EnginePath
		}
		if source.location.EnginePath == "" {
			source.err = fault.Terminal(v1alpha1.ReasonInvalidSpec,
				"no engine is named for %s: set enginePath with the secret or in VaultConfig %s/%s", source.label, config.Namespace, config.Name)
		}
	}
}

// deferWorkloads leaves out what only a pod can read, so that all else can be checked without one.
func (p *plan) deferWorkloads() {
	for _, source := range p.sources {
		source.deferred = source.err == nil && auth.IsWorkload(source.config)
	}
}

// deferred names the VaultConfigs of what was left out.
func (p *plan) deferred() []string {
	var names []string
	for _, source := range p.sources {
		if source.deferred {
			names = append(names, source.config.Namespace+"/"+source.config.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// incomplete are the sources that nobody gets here.
func (p *plan) incomplete() []*source {
	return slices.DeleteFunc(slices.Clone(p.sources), func(s *source) bool { return !s.absent() })
}

// paths of what is made for each volume, in order.
func (p *plan) paths() []string {
	var paths []string
	for _, s := range p.perVolume() {
		paths = append(paths, s.path)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// lookup answers one reference from the secrets that were read. It is the only place where values leave a secret.
func (p *plan) lookup(ref expression.Reference) (any, error) {
	switch {
	case ref.Config != "":
		return p.direct[ref.Config+"\x00"+ref.Path].value(ref.Key)
	case ref.Secret != "":
		return p.named[ref.Secret].value(ref.Key)
	}
	var found []*source
	for _, source := range p.attached {
		if source.err != nil {
			return nil, source.err
		}
		if source.absent() {
			continue
		}
		if _, ok := source.secret.Data[ref.Key]; ok {
			found = append(found, source)
		}
	}
	if len(found) <= 1 && slices.ContainsFunc(p.attached, (*source).absent) {
		return "", nil // the key may be in there, and there will be no files from this
	}
	switch len(found) {
	case 1:
		return found[0].value(ref.Key)
	case 0:
		paths := make([]string, len(p.attached))
		for i, source := range p.attached {
			paths[i] = source.path
		}
		return nil, fault.Waiting(v1alpha1.ReasonKeyMissing, "no attached secret has the key %q (looked in %s)", ref.Key, strings.Join(paths, ", "))
	}
	candidates := make([]string, len(found))
	for i, source := range found {
		candidates[i] = candidate(source, ref.Key)
	}
	return nil, fault.Waiting(v1alpha1.ReasonAmbiguousKey, "%d attached secrets have the key %q; say which: %s", len(found), ref.Key, strings.Join(candidates, " or "))
}

// candidate spells the reference that means exactly this source.
func candidate(s *source, key string) string {
	if !strings.Contains(s.label, ":") {
		return expression.Reference{Secret: s.label, Key: key}.String()
	}
	return expression.Reference{Config: s.configRef.Name, Path: s.location.SecretPath, Key: key}.String()
}

func (s *source) value(key string) (any, error) {
	if s.err != nil {
		return nil, s.err
	}
	if s.absent() {
		return "", nil // there will be no files from this
	}
	value, ok := s.secret.Data[key]
	if !ok {
		return nil, fault.Waiting(v1alpha1.ReasonKeyMissing, "the secret %s has no key %q", s.path, key)
	}
	return value, nil
}

// observed describes the secrets that were read, without what is in them.
func (p *plan) observed() []v1alpha1.ObservedSecret {
	var observed []v1alpha1.ObservedSecret
	for _, source := range p.sources {
		if source.secret == nil && !source.perVolume || source.path == "" {
			continue
		}
		if source.perVolume {
			observed = append(observed, v1alpha1.ObservedSecret{VaultConfig: source.configRef.Namespace + "/" + source.configRef.Name, Path: source.path})
			continue
		}
		observed = append(observed, v1alpha1.ObservedSecret{
			VaultConfig: source.configRef.Namespace + "/" + source.configRef.Name,
			Path:        source.path,
			Version:     source.secret.Version,
			CreatedTime: status.Time(source.secret.CreatedTime),
		})
	}
	slices.SortFunc(observed, func(a, b v1alpha1.ObservedSecret) int {
		return strings.Compare(a.VaultConfig+" "+a.Path, b.VaultConfig+" "+b.Path)
	})
	return observed
}

// versions returns the versions of those secrets that have any, by path.
func (p *plan) versions() map[string]int64 {
	versions := map[string]int64{}
	for _, source := range p.sources {
		if version := versionIn(source.marker); version > 0 {
			versions[source.path] = version
		}
	}
	return versions
}

// revision names the content of the plan's secrets together; false if that of one is not known. It is a digest of object
// generations and version numbers, never of a value.
func (p *plan) revision(base string) (string, bool) {
	digest := sha256.New()
	fmt.Fprintf(digest, "%s\n", base)
	for _, source := range p.sources {
		if source.err != nil || source.marker == "" {
			return "", false
		}
		fmt.Fprintf(digest, "%s@%s\n", source.key, source.marker)
	}
	return base64.RawURLEncoding.EncodeToString(digest.Sum(nil)), true
}

func revisionBase(connection *v1alpha1.Connection, overrides map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%d", connection.UID, connection.Generation)
	for _, key := range slices.Sorted(maps.Keys(overrides)) {
		fmt.Fprintf(&b, " %q=%q", key, overrides[key])
	}
	return b.String()
}

func names(named map[string]*source) string {
	if len(named) == 0 {
		return "none has a name"
	}
	return strings.Join(slices.Sorted(maps.Keys(named)), ", ")
}
