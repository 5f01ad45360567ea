// Package auth logs in to Vault: one file for each auth method, the registry that finds the method of a VaultConfig,
// the identity of workloads, tokens of service accounts, and what Vault says of a token.
//
// A method registers itself in its own file, so that a new one needs no other: its field in VaultAuth, its file here,
// its admission policy and its sample are all. Sentences name where a login's inputs come from with the words of a
// Source, which is given to the constructor: nobody edits them later.
//
// The package knows how to log in and not when: it keeps no token, renews none, and remembers no failure. It must not
// write to Kubernetes except for TokenRequests and TokenReviews, start a goroutine, or let a credential out in an error
// or a log.
package auth
