// Package vault is how Sallyport talks to Vault: sessions that log in, are renewed and notice a changed credential, reads and
// writes of the KV engines, and errors that are classified here and nowhere else.
//
// It is the only package that uses Vault's client library, and keeps it hermetic: see hermetic.go. Of the library's two levels it
// uses the lower one, requests and answers. The higher one (Logical and its like) hides the status code, and hands on errors
// that quote bodies and addresses.
//
// What this package must not do: write to Kubernetes, retry (the caller's work queue owns back-off), start a goroutine that
// outlives a call, or let a token, a value, a lease ID, an accessor or the text of a foreign error out in an error or a log.
package vault
