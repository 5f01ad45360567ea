// Package outage remembers what was read of secrets where a VaultConfig lets pods start with it while Vault cannot be
// reached (spec.outage.serveFor): in memory only, no longer than that, and for the one identity and namespace that read
// it.
//
// It does not know whether Vault can be reached, and never asks: whoever recalls something has found that out, and has
// authorised the pod as if it had been read now.
package outage
