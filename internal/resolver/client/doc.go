// Package client finds the replicas of the resolver and asks one of them. It is the node plugin's side of the protocol
// in internal/resolver/api/v1.
//
// The replicas publish their certificates in one ConfigMap; to watch it is all that this package may do in the
// Kubernetes API. A connection trusts exactly the certificates that the replica published, and nothing else. The
// package keeps no response and writes nothing to disk; what fails comes back as a fault, in words that quote no
// foreign error.
package client
