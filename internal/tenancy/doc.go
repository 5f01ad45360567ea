// Package tenancy decides whether a namespace may use a VaultConfig of another one: what spec.allowedNamespaces says,
// and nothing else. It is pure: labels, paths and KV versions are found out by the caller.
//
// A namespace that no entry admits must not learn anything from the decision, not even whether the VaultConfig exists.
package tenancy
