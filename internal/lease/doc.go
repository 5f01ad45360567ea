// Package lease keeps secrets alive that Vault made for one volume: it renews their leases, says when one must be replaced, and gives them back
// when the volume is gone.
//
// What a volume holds is its ledger. The node keeps it, sealed with a key that only the replicas have, and brings it with every request, so that any
// replica can go on where another left off, and none remembers a volume. Nothing here knows how a secret becomes files (that is package resolver).
package lease
