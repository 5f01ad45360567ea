// Package vaulttask reconciles VaultTasks: it runs each operation once, or on its schedule, and reports the outcome.
// Before a call that changes Vault it writes a claim to status, so that a controller that dies in between, or a second
// one that believes itself leader, can tell what was begun and does it at most once.
//
// One reconciliation is a decision (due.go) and, if that says so, one attempt at the run (attempt.go): find the target,
// check what may be done there, perform the operation, export the result. It must not repeat a call whose outcome is
// unknown, nor put a value that it read or wrote into status, an event or the log, unless encrypted to the author's key
// or behind a wrapping token.
package vaulttask
