// Package lease keeps the dynamic secrets of volumes alive: it renews their leases, says when one must be replaced, and
// revokes them when the volume is gone.
//
// The leases of a volume are kept by its node, encrypted with a key that only the replicas have, and come with every
// request, so that any replica can go on where another left off. A replica remembers three things only, in memory:
// leases that no volume has come back with yet (pending), revocations that failed (the revocation queue), and when it
// renewed what. Nothing here knows how a secret becomes files (that is package resolver), or writes a lease ID anywhere
// but into the encrypted state.
package lease
