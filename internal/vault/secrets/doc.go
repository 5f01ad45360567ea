// Package secrets knows what to ask of Vault: reads and writes of KV engines of both versions, their versions and
// metadata, what any other engine answers, dynamic secrets and their leases, response wrapping, and every other path of
// Vault's API.
//
// Each operation is a function of a session, and says in its comment which requests it makes. All KV operations go the
// same way: find out which engine there is (locate), make the request with the session's token, and say of a failure
// what can be known of its cause. What Vault said of an engine is remembered for a minute per token, in the session's
// slot.
//
// The package must not write to Kubernetes, keep a value, start a goroutine, send a request with an effect twice, or
// let a value, a lease ID or the text of a foreign error out in an error or a log.
package secrets
