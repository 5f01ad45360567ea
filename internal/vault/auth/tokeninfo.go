package auth

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/printable"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// TokenInfo describes a session's token, never the token itself or its accessor. Source: auth/token/lookup-self at
// login and auth/token/renew-self at each renewal.
type TokenInfo struct {
	// ExpireTime is when the token dies if it is not renewed, by this machine's clock; zero if it never expires, or if
	// Opaque.
	ExpireTime time.Time
	// CreationTTL is the life that the token was made with (for a periodic token, its period), and what renewals ask
	// for.
	CreationTTL time.Duration
	// TTL is what was left of the token's life at the login or the last renewal; zero if it never expires.
	TTL time.Duration
	// Renewable is whether Vault lets the token be renewed.
	Renewable bool
	// Policies attached to the token, by its entity in Vault too, sorted.
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
	// Namespace of Vault that the token is of, where it is looked up, renewed and revoked; empty: that of the session.
	Namespace string
	// Logins is how often the credential is good for another login, as Vault told after this one.
	Logins Logins
	// LatestEnd is when the token dies however often it is renewed, by Vault's clock, so that it is the same whenever
	// it is asked for: its explicit max TTL. Zero if there is none, or it is not told.
	LatestEnd time.Time
	// Opaque: the token's policies do not let it look itself up (it was made without Vault's policy "default"), so all
	// else is unknown, and it is not renewed.
	Opaque bool

	// created is when Vault made the token, in seconds since 1970 by Vault's clock; 0 if that is unknown.
	created int64
	// roleName of an AppRole that logged in; empty if it is none.
	roleName string
	// uncapped: a periodic token without an explicit max TTL can be renewed for ever.
	uncapped bool
}

// Logins is how many logins a credential is good for.
type Logins struct {
	// Unknown: Vault does not tell, and there may be a limit.
	Unknown bool
	// Denied is the path at which Vault would tell, if a policy lets it be asked (update); empty if that is not why.
	Denied string
	// Limited to the number that is Left.
	Limited bool
	Left    int
}

// LookUp asks Vault what it knows of a token. A fault AuthFailed means that the token is dead.
//
// The namespace is the one that the token is thought to be of; empty: the Conn's. A token is good in the namespaces
// below its own too, but can look itself up, and be renewed, in its own only: those above are asked as well.
func LookUp(
	ctx context.Context, conn *transport.Conn, token transport.Token, namespace, actor, remedy string,
) (TokenInfo, error) {
	var denied error
	opaque := false
	for _, candidate := range namespacesOf(cmp.Or(namespace, conn.Namespace())) {
		info, err := lookUpIn(ctx, conn, token, candidate, actor, remedy)
		switch {
		case err == nil && !info.Opaque:
			return info, nil
		case err == nil:
			opaque = true
		case !fault.Is(err, v1alpha1.ReasonAuthFailed):
			return TokenInfo{}, err
		case denied == nil:
			denied = err
		}
	}
	if opaque {
		return TokenInfo{Opaque: true}, nil
	}
	return TokenInfo{}, denied
}

// maxNamespaces bounds how many namespaces are asked about a token.
const maxNamespaces = 8

// namespacesOf are the namespaces that a token may be of which is used in one: itself, and those above.
func namespacesOf(namespace string) []string {
	namespace = strings.Trim(namespace, "/")
	if namespace == "" {
		return []string{transport.RootNamespace}
	}
	found := []string{namespace}
	for len(found) < maxNamespaces-1 {
		above := strings.LastIndexByte(namespace, '/')
		if above < 0 {
			break
		}
		namespace = namespace[:above]
		found = append(found, namespace)
	}
	return append(found, transport.RootNamespace)
}

// lookUpIn is LookUp in one namespace.
func lookUpIn(
	ctx context.Context, conn *transport.Conn, token transport.Token, namespace, actor, remedy string,
) (TokenInfo, error) {
	r := transport.Request{
		Method: http.MethodGet, Path: "auth/token/lookup-self", Token: &token, Namespace: namespace,
		Capability: `"read"`, Actor: actor,
	}
	response, err := conn.Call(ctx, r)
	switch {
	case err == nil:
		return newTokenInfo(response.Data, conn.Now()), nil
	case !fault.Is(err, v1alpha1.ReasonPermissionDenied):
		return TokenInfo{}, err
	}
	// Forbidden by policy, or not a token? Vault says so only in words that changed over time. This endpoint, which its
	// user interface starts with, answers every living token, whatever its policies.
	probe := transport.Request{
		Method: http.MethodGet, Path: "sys/internal/ui/mounts", Token: &token, Namespace: namespace, Actor: actor,
	}
	_, err = conn.Call(ctx, probe)
	if fault.Is(err, v1alpha1.ReasonPermissionDenied) {
		return TokenInfo{}, fault.Waiting(v1alpha1.ReasonAuthFailed, "%s → %d the token is unknown, expired or revoked (%s)",
			r, response.Status, actor).WithRemedy("%s", remedy)
	}
	return TokenInfo{Opaque: true}, err
}

// newTokenInfo reads the response of lookup-self. Times are counted from now, because Vault's clock may be another.
func newTokenInfo(data map[string]any, now time.Time) TokenInfo {
	info := TokenInfo{
		CreationTTL: transport.Seconds(data["creation_ttl"]),
		TTL:         transport.Seconds(data["ttl"]),
		NumUses:     int(transport.Number(data["num_uses"])),
		created:     transport.Number(data["creation_time"]),
	}
	info.Renewable, _ = data["renewable"].(bool)
	info.Type, _ = data["type"].(string)
	info.Policies = sortedPolicies(transport.Texts(data["policies"]), transport.Texts(data["identity_policies"]))

	// Vault says nothing of the root namespace.
	info.Namespace, _ = data["namespace_path"].(string)
	info.Namespace = cmp.Or(strings.Trim(info.Namespace, "/"), transport.RootNamespace)

	expires, _ := data["expire_time"].(string)
	if expires == "" {
		return info
	}
	info.ExpireTime = now.Add(info.TTL)
	maxTTL := transport.Seconds(data["explicit_max_ttl"])
	if period := transport.Seconds(data["period"]); period > 0 {
		info.CreationTTL = period
		info.uncapped = maxTTL == 0
	}
	// Both times are Vault's, so that they can be compared. A max TTL of the system or the mount is not told here; that
	// one shows when a renewal gives less than was asked for.
	if end, err := time.Parse(time.RFC3339Nano, expires); err == nil && maxTTL > 0 {
		created := time.Unix(transport.Number(data["creation_time"]), 0)
		info.LatestEnd = created.Add(maxTTL)
		info.MaxTTLReached = !end.Before(created.Add(maxTTL - time.Second))
	}
	return info
}

// Renewed is the description after a renewal that gave the token this life from now on.
func (i TokenInfo) Renewed(life time.Duration, renewable bool, now time.Time) TokenInfo {
	i.TTL = life
	i.ExpireTime = now.Add(life)
	i.LastRenewal = now
	i.Renewable = renewable
	// Vault counts in seconds, and a second may pass on the way.
	i.MaxTTLReached = !i.uncapped && life+2*time.Second < i.CreationTTL
	return i
}

// Expired is whether the token is dead by this machine's clock.
func (i TokenInfo) Expired(now time.Time) bool {
	return !i.ExpireTime.IsZero() && !now.Before(i.ExpireTime)
}

// Extendable is whether somebody could give the token a longer life than this process knows of. Every replica of the
// controller uses the same token, and only one of them renews it.
func (i TokenInfo) Extendable() bool {
	return i.Renewable && !i.MaxTTLReached && !i.ExpireTime.IsZero()
}

// MaxPolicies and maxPolicyName bound what is kept of a token's policies, as status does.
const (
	MaxPolicies   = 256
	maxPolicyName = 256
)

// sortedPolicies are the policies of a token and those of its entity in Vault, each once.
func sortedPolicies(own, ofEntity []string) []string {
	all := slices.Concat(own, ofEntity)
	slices.Sort(all)
	return printable.Texts(slices.Compact(all), maxPolicyName, MaxPolicies)
}

// StableName is what every replica, now and later, calls a token that was put into a Secret; empty if there is no such
// name. It says nothing of the token.
func (i TokenInfo) StableName() string {
	if i.FromLogin || i.created == 0 {
		return ""
	}
	return fmt.Sprintf("%d+%s", i.created, i.CreationTTL)
}
