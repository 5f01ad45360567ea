// Package tracing makes spans of what is done for a pod or an object, and exports them by OTLP. Off, which it is unless
// a context carries a tracer, it costs a look at the context: there is no exporter, goroutine or connection.
//
// What a span may say is a closed list of keys, and texts are cut. It names objects, an operation, a status code and a
// reason, and never a value, a token, a lease, a path in Vault or the text of an error. Nothing is said to a Vault of
// the trace.
package tracing
