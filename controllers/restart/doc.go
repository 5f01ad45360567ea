// Package restart rolls Deployments, StatefulSets and DaemonSets that ask for it when a Connection that their pods
// mount changes. What it rolled them for is noted on the workloads themselves, so that a restart of the controller
// rolls nothing.
//
// It knows what Connections say and versions, and never a value of a secret; it must not talk to Vault, and writes
// nothing but its annotations.
package restart
