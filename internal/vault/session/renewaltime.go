package session

import (
	"hash/fnv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/internal/vault/auth"
)

// RenewAfter is two thirds of a lease, or up to a tenth of the lease less. The part is taken from the owner and not
// from a random number, so that a time that was shown does not move, and what came together does not come together for
// ever. Tokens and the leases of volumes are renewed by it.
func RenewAfter(lease time.Duration, owner string) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(owner))
	const parts = 1000
	early := lease / 10 / parts * time.Duration(hash.Sum32()%parts)
	return lease*2/3 - early
}

// renewalTime is when to extend a token's life, or to log in anew where it cannot be extended; zero if there is nothing
// to do.
func renewalTime(info auth.TokenInfo, now time.Time, owner types.UID) time.Time {
	if info.ExpireTime.IsZero() || !info.Extendable() && !info.FromLogin {
		return time.Time{}
	}
	return now.Add(RenewAfter(info.TTL, string(owner)))
}
