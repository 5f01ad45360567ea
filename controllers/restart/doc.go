// Package restart rolls Deployments, StatefulSets, DaemonSets and Rollouts of Argo that ask for it when a Connection
// that their pods mount changes: not too often, and as many of a namespace at a time as it says. What it rolled them
// for, and when, is noted on the workloads themselves, so that a restart of the controller rolls nothing.
//
// It knows what Connections say and versions, and never a value of a secret; it must not talk to Vault, and writes
// nothing but its annotations, and a Rollout's restartAt.
package restart
