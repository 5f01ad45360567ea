package vault

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// TokenInfo describes a session's token, never the token itself or its accessor. Source: auth/token/lookup-self at login
// and auth/token/renew-self at each renewal.
type TokenInfo struct {
	// ExpireTime is when the token dies if it is not renewed, by this machine's clock; zero if it never expires, or if Opaque.
	ExpireTime time.Time
	// CreationTTL is the life that the token was made with (for a periodic token, its period), and what renewals ask for.
	CreationTTL time.Duration
	// TTL is what was left of the token's life at the login or the last renewal; zero if it never expires.
	TTL time.Duration
	// Renewable is whether Vault lets the token be renewed.
	Renewable bool
	// Policies attached to the token, by its identity too, sorted.
	Policies []string
	// LastRenewal is when this session last renewed the token; zero if it did not yet.
	LastRenewal time.Time
	// MaxTTLReached is true when the token's max TTL allows no further renewal: it dies at ExpireTime.
	MaxTTLReached bool
	// Type of the token: service or batch.
	Type string
	// NumUses is how often the token could still be used at login; zero: without limit.
	NumUses int
	// FromLogin: the token was made by a login of this process, which will replace it by another before it dies.
	FromLogin bool
	// Opaque: the token's policies do not let it look itself up (it was made without Vault's policy "default"), so all else
	// is unknown, and it is not renewed.
	Opaque bool

	// created is when Vault made the token, in seconds since 1970 by Vault's clock; 0 if that is unknown.
	created int64
	// uncapped: a periodic token without an explicit max TTL can be renewed for ever.
	uncapped bool
}

// lookup asks Vault what it knows of a token. A fault AuthFailed means that the token is dead.
func (l *link) lookup(ctx context.Context, t token, namespace, as, cure string) (TokenInfo, error) {
	r := request{method: http.MethodGet, path: "auth/token/lookup-self", token: &t, namespace: namespace, capability: `"read"`, as: as}
	a, err := l.call(ctx, r)
	switch {
	case err == nil:
		return newTokenInfo(a.Data, l.clock.Now()), nil
	case !fault.Is(err, v1alpha1.ReasonPermissionDenied):
		return TokenInfo{}, err
	}
	// Forbidden by policy, or not a token? Vault says so only in words that changed over time. This endpoint, which its user
	// interface starts with, answers every living token, whatever its policies.
	probe := request{method: http.MethodGet, path: "sys/internal/ui/mounts", token: &t, namespace: namespace, as: as}
	_, err = l.call(ctx, probe)
	if fault.Is(err, v1alpha1.ReasonPermissionDenied) {
		return TokenInfo{}, fault.Waiting(v1alpha1.ReasonAuthFailed, "%s → %d the token is unknown, expired or revoked (%s); %s",
			r, a.status, as, cure)
	}
	return TokenInfo{Opaque: true}, err
}

// newTokenInfo reads the answer of lookup-self. Times are counted from now, because Vault's clock may be another.
func newTokenInfo(data map[string]any, now time.Time) TokenInfo {
	info := TokenInfo{
		CreationTTL: seconds(data["creation_ttl"]),
		TTL:         seconds(data["ttl"]),
		NumUses:     int(number(data["num_uses"])),
		created:     number(data["creation_time"]),
	}
	info.Renewable, _ = data["renewable"].(bool)
	info.Type, _ = data["type"].(string)
	info.Policies = sortedPolicies(texts(data["policies"]), texts(data["identity_policies"]))

	expires, _ := data["expire_time"].(string)
	if expires == "" {
		return info
	}
	info.ExpireTime = now.Add(info.TTL)
	maxTTL := seconds(data["explicit_max_ttl"])
	if period := seconds(data["period"]); period > 0 {
		info.CreationTTL = period
		info.uncapped = maxTTL == 0
	}
	// Both times are Vault's, so that they can be compared. A max TTL of the system or the mount is not told here; that one shows
	// when a renewal grants less than was asked for.
	if end, err := time.Parse(time.RFC3339Nano, expires); err == nil && maxTTL > 0 {
		created := time.Unix(number(data["creation_time"]), 0)
		info.MaxTTLReached = !end.Before(created.Add(maxTTL - time.Second))
	}
	return info
}

// renewed is the description after a renewal that granted lease.
func (i TokenInfo) renewed(lease time.Duration, renewable bool, now time.Time) TokenInfo {
	i.TTL = lease
	i.ExpireTime = now.Add(lease)
	i.LastRenewal = now
	i.Renewable = renewable
	// Vault counts in seconds, and a second may pass on the way.
	i.MaxTTLReached = !i.uncapped && lease+2*time.Second < i.CreationTTL
	return i
}

// expired: the token is dead by this machine's clock.
func (i TokenInfo) expired(now time.Time) bool {
	return !i.ExpireTime.IsZero() && !now.Before(i.ExpireTime)
}

// extendable: somebody could give the token a longer life than this process knows of. Every replica of the controller uses
// the same token, and only one of them renews it.
func (i TokenInfo) extendable() bool {
	return i.Renewable && !i.MaxTTLReached && !i.ExpireTime.IsZero()
}

// sortedPolicies are the policies of a token and those of its identity, each once.
func sortedPolicies(own, identity []string) []string {
	all := slices.Concat(own, identity)
	slices.Sort(all)
	return slices.Compact(all)
}

func texts(value any) []string {
	list, _ := value.([]any)
	found := make([]string, 0, len(list))
	for _, entry := range list {
		if text, ok := entry.(string); ok {
			found = append(found, text)
		}
	}
	return found
}

func number(value any) int64 {
	n, _ := value.(json.Number)
	i, _ := n.Int64()
	return i
}

func seconds(value any) time.Duration { return time.Duration(number(value)) * time.Second }
