// Package vaultconfig reconciles VaultConfigs: it looks after the session with Vault, renews its token before it
// expires and reports Vault's health. It runs in the leader; every replica has sessions of its own for resolving.
//
// It must not hold a token itself, nor write one, its accessor or a hash of it to status.
package vaultconfig
