// Package session keeps one Session per identity at a Vault: when to log in, renew, log in anew and revoke, what a
// denied request means for the token, and how long to wait after a failure.
//
// Do is the one way to make requests with a session's token, which nobody sees. What to ask of Vault the package does
// not know; the packages above keep what they know of a Vault in a Slot of the session.
//
// Files depend on each other in one direction: accounts, backoff, renewaltime, tokenref, revoke < environment <
// connector < tokenholder < login < renew < ready < forbidden < session < do < draining < set < ephemeral < sessions <
// leasetoken.
//
// The package must not write to Kubernetes, repeat a request except with another token after a 403 (the caller's work
// queue owns back-off), or let a token out in an error or a log. Two kinds of goroutines outlive a call: a step that
// callers share (a login, a renewal), within its time-out, and the one that works off revocations while there are any.
package session
