// Package connection reconciles Connections: it resolves each one now and then, as a pod without overrides would, and
// says in one sentence what is wrong and where.
//
// It must not store a value, nor ask Vault for more than the volumes that mount the Connection would.
package connection
