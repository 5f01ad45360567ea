package resolver

import (
	"maps"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
)

// lookup resolves one reference from the secrets that were read. It is the only place where values leave a secret.
func (p *plan) lookup(ref expression.Reference) (any, error) {
	if !ref.Bare() {
		return p.sourceOf(ref).value(ref)
	}
	found, err := p.find(ref)
	if err != nil {
		return nil, err
	}
	switch {
	case len(found) > 1 || !slices.ContainsFunc(p.attached, (*source).absent):
	case len(found) == 1 && !slices.ContainsFunc(p.attached, func(s *source) bool { return s.absent() && !s.held }):
		// What the volume holds had not this key when it was issued, or it would not hold it.
	default:
		return expression.Opaque(""), nil // the key may be in there, and there will be no files from this
	}
	switch len(found) {
	case 1:
		return found[0].value(ref)
	case 0:
		if ref.Default == "" && slices.ContainsFunc(p.attached, func(s *source) bool { return s.optional }) {
			return nil, nil
		}
		paths := make([]string, len(p.attached))
		for i, s := range p.attached {
			paths[i] = s.path
		}
		return nil, fault.Waiting(v1alpha1.ReasonKeyMissing,
			"no attached secret has the key %q (looked in %s)", ref.Key, strings.Join(paths, ", ")).WithAbsent()
	}
	candidates := make([]string, len(found))
	for i, s := range found {
		candidates[i] = candidate(s, ref)
	}
	return nil, fault.Waiting(v1alpha1.ReasonAmbiguousKey, "%d attached secrets have the key %q", len(found), ref.Key).
		WithRemedy("say which: %s", strings.Join(candidates, " or "))
}

// sourceOf returns the secret that a reference names; nil if it names none.
func (p *plan) sourceOf(ref expression.Reference) *source {
	if ref.Config != "" {
		return p.direct[ref.Config+"\x00"+ref.Path]
	}
	return p.named[ref.Secret]
}

// find returns the attached secrets that are known to have the key of a reference. One that is not there has none, if
// it is optional or the reference has a default.
func (p *plan) find(ref expression.Reference) ([]*source, error) {
	var found []*source
	for _, s := range p.attached {
		if s.err != nil {
			return nil, s.err
		}
		if s.missing != nil && !s.optional && ref.Default == "" {
			return nil, s.missing
		}
		if s.absent() || s.missing != nil {
			continue
		}
		if _, ok := s.secret.Data[ref.Key]; ok {
			found = append(found, s)
		}
	}
	return found, nil
}

// candidate spells the reference with the source that it may mean.
func candidate(s *source, ref expression.Reference) string {
	if !strings.Contains(s.label, ":") {
		return expression.Reference{Secret: s.label, Key: ref.Key, Default: ref.Default}.String()
	}
	return expression.Reference{
		Config: s.configRef.Name, Path: s.location.SecretPath, Key: ref.Key, Default: ref.Default,
	}.String()
}

// value returns what a reference wants of the secret.
func (s *source) value(ref expression.Reference) (any, error) {
	if s.err != nil {
		return nil, s.err
	}
	if s.absent() {
		return expression.Opaque(""), nil // there will be no files from this
	}
	value, err := s.kept(ref)
	switch {
	case !s.optional:
	case err == nil:
		return expression.Optional{Value: value}, nil
	case ref.Default == "":
		return nil, nil
	}
	return value, err
}

// kept is what a reference wants of what was read.
func (s *source) kept(ref expression.Reference) (any, error) {
	if s.missing != nil {
		return nil, s.missing
	}
	if ref.Whole {
		return s.secret.Data, nil
	}
	value, ok := s.secret.Data[ref.Key]
	if !ok {
		absent := fault.Waiting(v1alpha1.ReasonKeyMissing, "the secret %s has no key %q", s.path, ref.Key).WithAbsent()
		if len(ref.Fields) > 0 { // a dot too many, or a key with one in it
			absent = absent.WithRemedy("%s", ref.RemedyAbsent(-1))
		}
		return nil, absent
	}
	return value, nil
}

// keysOf returns the keys of a secret that is spread, sorted; nil if only a pod can know.
func (p *plan) keysOf(name string) ([]string, error) {
	s := p.named[name]
	switch {
	case s.err != nil:
		return nil, s.err
	case s.deferred:
		return nil, nil
	case s.dynamic:
		return nil, fault.Waiting(v1alpha1.ReasonInvalidSpec, "%s is made for each volume, and its keys are not known before", s.path).
			WithRemedy("list those that are spread in keys")
	case s.missing != nil && !s.optional:
		return nil, s.missing
	case s.missing != nil:
		return []string{}, nil //nolint:nilerr // it may be missing
	}
	keys := slices.AppendSeq([]string{}, maps.Keys(s.secret.Data))
	slices.Sort(keys)
	return keys, nil
}
