// Package transport sends requests to Vault's API: which addresses are allowed, TLS and the HTTP client, the limits of
// spec.limits, the cached result of sys/health, and the fault that stands for each way in which a request can fail.
//
// It keeps Vault's client library hermetic (hermetic.go) and is, with the packages above it, the only one that may use
// that. Of the library's two levels it uses the lower one, requests and responses: the higher one (Logical and its
// like) hides the status code, and hands on errors that quote bodies and addresses.
//
// It knows no token's life: it sends the token that a Request holds, and neither logs in, renews nor revokes. It must
// not write to Kubernetes, send a request with an effect twice, or let a token, a value or the text of a foreign error
// out in an error or a log. A request is sent again only where Vault itself says that it did nothing (see Conn.Call).
// The one goroutine that outlives a call is the shared look at sys/health, which has a time-out of its own.
package transport
