// Package usage knows which volumes a replica serves, and reports their number and the versions of their secrets in the
// status of Connections.
//
// It is told of volumes in plain values and holds times and version numbers only. It knows neither the engine that
// resolves Connections nor the gRPC service that volumes ask, and it keeps no state that a restart would lose for long:
// volumes ask again.
package usage
