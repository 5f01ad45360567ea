// Package logkeys holds the keys under which the node plugin logs, so that one thing has one key in all its packages.
//
// It must hold nothing else: messages are constants of the package that logs them.
package logkeys

// The keys. None is of a token, of content or of leases.
const (
	Method     = "method"
	Volume     = "volumeID"
	Pod        = "pod"
	Connection = "connection"
	Reason     = "reason"
	Sentence   = "sentence"
	RetryAfter = "retryAfter"
	Path       = "path"
	Socket     = "socket"
)
