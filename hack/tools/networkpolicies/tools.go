//go:build tools

// Package networkpolicies pins the program that enforces NetworkPolicies in the local cluster, whose network does not.
package networkpolicies

import (
	_ "sigs.k8s.io/kube-network-policies/cmd"
)
