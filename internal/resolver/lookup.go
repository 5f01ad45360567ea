package resolver

import (
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
)

// lookup resolves one reference from the secrets that were read. It is the only place where values leave a secret.
func (p *plan) lookup(ref expression.Reference) (any, error) {
	switch {
	case ref.Config != "":
		return p.direct[ref.Config+"\x00"+ref.Path].value(ref.Key)
	case ref.Secret != "":
		return p.named[ref.Secret].value(ref.Key)
	}
	found, err := p.find(ref.Key)
	if err != nil {
		return nil, err
	}
	switch {
	case len(found) > 1 || !slices.ContainsFunc(p.attached, (*source).absent):
	case len(found) == 1 && !slices.ContainsFunc(p.attached, func(s *source) bool { return s.absent() && !s.held }):
		// What the volume holds had not this key when it was issued, or it would not hold it.
	default:
		return "", nil // the key may be in there, and there will be no files from this
	}
	switch len(found) {
	case 1:
		return found[0].value(ref.Key)
	case 0:
		paths := make([]string, len(p.attached))
		for i, s := range p.attached {
			paths[i] = s.path
		}
		return nil, fault.Waiting(v1alpha1.ReasonKeyMissing,
			"no attached secret has the key %q (looked in %s)", ref.Key, strings.Join(paths, ", "))
	}
	candidates := make([]string, len(found))
	for i, s := range found {
		candidates[i] = candidate(s, ref.Key)
	}
	return nil, fault.Waiting(v1alpha1.ReasonAmbiguousKey, "%d attached secrets have the key %q", len(found), ref.Key).
		WithRemedy("say which: %s", strings.Join(candidates, " or "))
}

// find returns the attached secrets that are known to have a key.
func (p *plan) find(key string) ([]*source, error) {
	var found []*source
	for _, s := range p.attached {
		if s.err != nil {
			return nil, s.err
		}
		if s.absent() {
			continue
		}
		if _, ok := s.secret.Data[key]; ok {
			found = append(found, s)
		}
	}
	return found, nil
}

// candidate spells the reference that means exactly this source.
func candidate(s *source, key string) string {
	if !strings.Contains(s.label, ":") {
		return expression.Reference{Secret: s.label, Key: key}.String()
	}
	return expression.Reference{Config: s.configRef.Name, Path: s.location.SecretPath, Key: key}.String()
}

// value returns the value of a key; "" where the secret is absent, for there will be no files from this.
func (s *source) value(key string) (any, error) {
	if s.err != nil {
		return nil, s.err
	}
	if s.absent() {
		return "", nil
	}
	value, ok := s.secret.Data[key]
	if !ok {
		return nil, fault.Waiting(v1alpha1.ReasonKeyMissing, "the secret %s has no key %q", s.path, key)
	}
	return value, nil
}
