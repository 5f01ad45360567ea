package resolver

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"sallyport.dev/sallyport/internal/expression"
)

// dynamicFile is a file that holds dynamic secrets, before these are there.
type dynamicFile struct {
	// digest of all that goes into the file: what its author wrote, the values of static secrets, and of dynamic ones
	// the names that stand for their content.
	digest  string
	sources []*source
	// searches: a reference names no secret, so that what it leads to depends on which ones have the key.
	searches bool
}

// dynamicFiles returns the files that hold dynamic secrets, and those without any sources, by path. It fails where a
// reference to anything else cannot be resolved. The result is the same before and after dynamic secrets are issued,
// but for their names.
func (d *document) dynamicFiles(ctx context.Context, p *plan) (map[string]dynamicFile, error) {
	values, err := d.value.Evaluate(ctx, p.outline)
	if err != nil {
		return nil, err
	}
	texts, err := d.texts.Evaluate(ctx, p.outline)
	if err != nil {
		return nil, err
	}
	// Each key once, for a hundred files may be made from all of them.
	sums := make(map[string][]byte, len(values))
	for key, value := range values {
		sums[key] = sumOf(key, value)
	}
	files := map[string]dynamicFile{}
	for _, origin := range d.layout.Origins(d.value.Keys()) {
		var references []expression.Placed
		var parts [][]byte
		for _, place := range origin.Texts {
			references = append(references, d.texts.ReferencesOf(place)...)
			parts = append(parts, sumOf(texts[place]))
		}
		for _, key := range origin.Keys {
			references = append(references, d.value.ReferencesOf(key)...)
			parts = append(parts, sums[key])
		}
		sum := sumOf(origin.Path, origin.Spec, parts)
		files[origin.Path] = dynamicFile{
			digest:  base64.RawURLEncoding.EncodeToString(sum[:digestLength]),
			sources: p.dynamicOf(references),
			searches: slices.ContainsFunc(references, func(placed expression.Placed) bool {
				return placed.Reference.Bare()
			}),
		}
	}
	return files, nil
}

// digestLength is how much of a sum is kept: enough to see that something changed.
const digestLength = 12

// sumOf is a digest of values of JSON.
func sumOf(values ...any) []byte {
	encoded, _ := json.Marshal(values)
	sum := sha256.Sum256(encoded)
	return sum[:]
}

// digests are those of the files that hold dynamic secrets, by path.
func (d *document) digests(ctx context.Context, p *plan) (map[string]string, error) {
	files, err := d.dynamicFiles(ctx, p)
	if err != nil {
		return nil, err
	}
	digests := make(map[string]string, len(files))
	for path, file := range files {
		if len(file.sources) > 0 {
			digests[path] = file.digest
		}
	}
	return digests, nil
}

// outline resolves a reference for a digest: in place of a dynamic secret stands its name, and of what differs at each
// read, which alone is no change, that it does.
func (p *plan) outline(ref expression.Reference) (any, error) {
	if !ref.Bare() {
		return p.outlineOf(p.sourceOf(ref), ref)
	}
	found, err := p.findShared(ref)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0 && slices.ContainsFunc(p.attached, (*source).isIssued):
		names := []string{"dynamic", outlined(ref)}
		for _, attached := range p.attached {
			if attached.isIssued() {
				names = append(names, string(attached.version))
			}
		}
		return expression.Opaque(strings.Join(names, " ")), nil
	case len(found) != 1:
		return p.lookup(ref) // which says what is wrong
	}
	return p.outlineOf(found[0], ref)
}

// outlineOf is the outline of a reference to a secret.
func (p *plan) outlineOf(s *source, ref expression.Reference) (any, error) {
	switch {
	case s.err != nil:
		return nil, s.err
	case s.isIssued():
		return expression.Opaque("dynamic " + outlined(ref) + " " + string(s.version)), nil
	case s.secret == nil:
	case ref.Whole:
		lasting := maps.Clone(s.secret.Data)
		for _, key := range s.secret.Fleeting {
			if _, found := lasting[key]; found {
				lasting[key] = "fleeting"
			}
		}
		return lasting, nil
	case slices.Contains(s.secret.Fleeting, ref.Key):
		return expression.Opaque("fleeting " + outlined(ref)), nil
	}
	return s.value(ref)
}

// outlined is how a reference stands for a value that is not known. Encrypted lease states remember digests of it, so
// its form stays.
func outlined(ref expression.Reference) string {
	if ref.Whole || len(ref.Fields) > 0 || ref.Default != "" {
		return ref.String()
	}
	return ref.Key
}

// isIssued: it is made for the volume.
func (s *source) isIssued() bool { return s.dynamic && s.err == nil && !s.deferred }

// findShared returns the attached secrets that are known to have a key, other than dynamic ones.
func (p *plan) findShared(ref expression.Reference) ([]*source, error) {
	found, err := p.find(ref)
	return slices.DeleteFunc(found, (*source).isIssued), err
}

// dynamicOf returns the dynamic secrets that references lead to, as far as that is known before they are issued: a
// reference that names no secret may lead to each of them, unless another secret has the key.
func (p *plan) dynamicOf(references []expression.Placed) []*source {
	var sources []*source
	add := func(s *source) {
		if s != nil && s.isIssued() && !slices.Contains(sources, s) {
			sources = append(sources, s)
		}
	}
	for _, placed := range references {
		ref := placed.Reference
		if !ref.Bare() {
			add(p.sourceOf(ref))
		} else if found, _ := p.findShared(ref); len(found) == 0 {
			for _, s := range p.attached {
				add(s)
			}
		}
	}
	return sources
}

// keepFiles decides which files stay as the volume has them, given the digests of those that it holds, and marks the
// dynamic secrets that need not be issued for that. Values are not stored: a file can only be made anew with dynamic
// secrets that are issued now, and every file that holds one of these is then made anew, too.
func (p *plan) keepFiles(files map[string]dynamicFile, held map[string]string) map[string]bool {
	again := map[string]bool{} // by secret key
	for _, s := range p.dynamic() {
		if s.version == "" {
			again[s.key] = true
		}
	}
	kept := map[string]bool{}
	for path, file := range files {
		kept[path] = len(file.sources) > 0 && held[path] == file.digest
		if len(file.sources) == 0 && file.searches && held[path] != "" { // a static secret now has the key that one had
			for _, s := range p.dynamic() {
				again[s.key] = true
			}
		}
	}
	for changed := true; changed; {
		changed = false
		for path, file := range files {
			if kept[path] && slices.ContainsFunc(file.sources, func(s *source) bool { return again[s.key] }) {
				kept[path], changed = false, true
			}
			if kept[path] {
				continue
			}
			for _, s := range file.sources {
				changed = changed || !again[s.key]
				again[s.key] = true
			}
		}
	}
	for _, s := range p.dynamic() {
		s.held = !again[s.key]
	}
	return kept
}
