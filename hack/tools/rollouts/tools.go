//go:build tools

// Package rollouts pins the controller of Argo Rollouts, which restarts the pods of Rollouts in the long tests. It lives
// in a module of its own, so that what only Argo Rollouts needs stays out of the product's.
package rollouts

import _ "github.com/argoproj/argo-rollouts/cmd/rollouts-controller"
