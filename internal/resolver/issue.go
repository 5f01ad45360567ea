package resolver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/lease"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

// Volume is for whom a Connection is resolved.
type Volume struct {
	// Workload is the pod, as whom some VaultConfigs log in.
	Workload *auth.Workload
	// Overrides of the pod.
	Overrides map[string]string
	// Revision of the files that the volume holds; empty if it holds none.
	Revision string
	// Held are the IDs of the secrets that were made for the volume, by slot.
	Held map[string]string
}

// write takes over how a secret is asked for by a write.
func (s *source) write(secret v1alpha1.VaultSecret) error {
	if secret.Method != v1alpha1.SecretMethodPost {
		return nil
	}
	s.location.Write, s.location.Parameters = true, map[string]any{}
	if secret.Parameters == nil {
		return nil
	}
	if err := json.Unmarshal(secret.Parameters.Raw, &s.location.Parameters); err != nil {
		return fault.Terminal(v1alpha1.ReasonInvalidSpec, "vaultSecrets: the parameters of %s are no JSON object", secret.SecretPath)
	}
	return nil
}

// slot says which secret of which Vault it is, whatever else of the Connection or the VaultConfig changes.
func (s *source) slot() string {
	parameters, _ := json.Marshal(s.location.Parameters) // what was JSON can be JSON again
	return fmt.Sprintf("%s %s %s %s %s write=%t %s", s.config.UID, s.config.Spec.URL, s.config.Spec.VaultNamespace, s.session.Subject(), s.path,
		s.location.Write, parameters)
}

// perVolume are the sources that are made for each volume.
func (p *plan) perVolume() []*source {
	var found []*source
	for _, s := range p.sources {
		if s.perVolume && s.err == nil && !s.deferred {
			found = append(found, s)
		}
	}
	return found
}

// slots are where the volume holds what is made for it.
func (p *plan) slots() []string {
	var slots []string
	for _, s := range p.perVolume() {
		slots = append(slots, s.slot())
	}
	return slots
}

// hold marks what the volume holds already.
func (p *plan) hold(held map[string]string) {
	for _, s := range p.perVolume() {
		s.key = s.slot()
		if id := held[s.key]; id != "" {
			s.marker = "held." + id
		}
	}
}

// issue has Vault make what the files need and nobody has, unless something else is missing: each is a credential at another system. What was made is
// returned in any case.
func (e *Engine) issue(ctx context.Context, p *plan) []lease.Made {
	if slices.ContainsFunc(p.sources, func(s *source) bool { return s.err != nil }) {
		return nil
	}
	sources := p.perVolume()
	// One for each slot, whatever the number of references that mean it: a user and its password belong together.
	first := map[string]*source{}
	sources = slices.DeleteFunc(sources, func(s *source) bool {
		s.key = s.slot()
		twin := first[s.key]
		if twin == nil {
			first[s.key] = s
		}
		return twin != nil
	})
	// An answer that nobody waits for any more is one that nobody gives back.
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	each(sources, func(s *source) {
		if s.issued, s.err = secrets.Issue(detached, s.session, s.location); s.err == nil {
			s.secret = &s.issued.Secret
		}
	})
	var made []lease.Made
	for _, s := range sources {
		if s.issued == nil {
			continue
		}
		id := rand.Text()
		s.marker = "held." + id
		m := lease.Made{ID: id, Slot: s.key, Config: s.config, Issued: s.issued}
		if auth.IsWorkload(s.config) {
			m.ServiceAccount = s.session.ServiceAccount()
		}
		made = append(made, m)
	}
	for _, s := range p.perVolume() {
		s.shareWith(first[s.slot()])
	}
	return made
}

// shareWith takes over what was made for another source of the same slot.
func (s *source) shareWith(twin *source) {
	if twin != nil && twin != s {
		s.secret, s.issued, s.marker, s.key, s.err = twin.secret, twin.issued, twin.marker, twin.key, twin.err
	}
}

// mayIssue finds out whether Vault would make what a volume needs; nothing is made.
func (e *Engine) mayIssue(ctx context.Context, p *plan) {
	each(p.perVolume(), func(s *source) { s.err = secrets.MayIssue(ctx, s.session, s.location) })
}

// refusePerVolume refuses what only a volume can have.
func (p *plan) refusePerVolume() {
	for _, s := range p.perVolume() {
		s.err = fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s is made for each reader, and only a Connection that a pod mounts can have it; "+
			"use a path that answers the same to everybody, such as static-creds of the database engine", s.path)
	}
}
