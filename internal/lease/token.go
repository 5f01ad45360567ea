package lease

import (
	"context"
	"fmt"
	"io"
	"time"

	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// Token is a token from a login that leases of a volume end with. With it any replica keeps them alive when the one
// that logged in is gone. It redacts itself. The names in JSON are those of the encrypted state.
type Token struct {
	Value string `json:"value"`
	// Namespace of Vault that it lives in.
	Namespace string `json:"namespace,omitempty"`
	// TTL is what renewals ask for.
	TTL time.Duration `json:"ttl"`
	// Way on which it was obtained: see session.WayTo.
	Way string `json:"way,omitempty"`

	// route is that way whole, from the routes of the volume; nil if it is not kept.
	route *session.Route
}

// Format prints none of it, for every verb.
func (t Token) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "token [redacted]") }

// MarshalLog is Format, for logr.
func (t Token) MarshalLog() any { return fmt.Sprint(t) }

func newToken(t session.LeaseToken) Token {
	return Token{Value: t.Token.Reveal(), Namespace: t.Namespace, TTL: t.CreationTTL, Way: t.Way, route: t.Route}
}

// ofLease is the token as a session needs it.
func (t Token) ofLease(l *Lease) session.LeaseToken {
	return session.LeaseToken{
		Token: transport.NewToken(t.Value), ID: l.TokenID, Namespace: t.Namespace,
		CreationTTL: t.TTL, ExpireTime: l.TokenExpires, Way: t.Way, Route: t.route,
	}
}

// keepTokens keeps the tokens of leases that the volume has, and of those that were issued just now.
func (v *VolumeLeases) keepTokens(issued []DynamicSecret) {
	tokens := map[string]Token{}
	for _, d := range issued {
		if d.Issued.LeaseToken.ID != "" {
			tokens[d.Issued.LeaseToken.ID] = newToken(d.Issued.LeaseToken)
		}
	}
	kept := map[string]Token{}
	for _, l := range v.Leases {
		for _, from := range []map[string]Token{v.Tokens, tokens} {
			if token, found := from[l.TokenID]; found {
				kept[l.TokenID] = token
			}
		}
	}
	v.Tokens = kept
	routes := map[string]*session.Route{}
	for _, t := range kept {
		switch {
		case len(routes) == maxRoutes: // the leases of further ones are left when their VaultConfig is gone
		case t.route != nil:
			routes[t.Way] = t.route
		case routes[t.Way] == nil && v.Routes[t.Way] != nil:
			routes[t.Way] = v.Routes[t.Way]
		}
	}
	v.Routes = routes
}

// maxRoutes bounds the routes of a volume, each of which may hold a CA bundle.
const maxRoutes = 8

// token is what the volume keeps of the token that a lease ends with; the zero value if nothing.
func (v *VolumeLeases) token(l *Lease) Token {
	token := v.Tokens[l.TokenID]
	token.route = v.Routes[token.Way]
	return token
}

// tokenDue tells whether the token that a lease ends with must live longer, or the lease be replaced.
func (l Lease) tokenDue(now time.Time) bool {
	return passed(twoThirds(l.TokenSince, l.TokenExpires, l.Name), now)
}

// extendToken renews the token that a lease ends with, if that is due: that of the session by itself, another one,
// which a session had that is gone, with the volume's copy of it. What cannot be extended is left as it is.
func (m *Manager) extendToken(
	ctx context.Context, s *session.Session, l *Lease, kept Token, namespace string, workload *auth.Workload,
) {
	*l = l.withToken(s.TokenTerm(), m.clock.Now())
	if known, found := m.tokens.get(namespace, l.TokenID); found && known.since.After(l.TokenSince) {
		l.TokenSince, l.TokenExpires = known.since, known.expires
	}
	if l.LeaseID == "" || !l.tokenDue(m.clock.Now()) {
		return
	}
	if s.TokenTerm().ID != l.TokenID {
		if kept.Value == "" {
			return
		}
		config, err := configOf(ctx, m.objects, l)
		if err != nil {
			return
		}
		if s, err = m.sessions.WithLeaseToken(ctx, config, workloadOf(l, namespace, workload), kept.ofLease(l)); err != nil {
			return
		}
	}
	extended, err := s.ExtendToken(ctx)
	if err != nil {
		return
	}
	former := l.TokenExpires
	if *l = l.withToken(extended, m.clock.Now()); !l.TokenExpires.Equal(former) {
		m.tokens.record(namespace, l.TokenID, term{l.TokenSince, l.TokenExpires})
	}
}
