//go:build tools

// Package argocd pins Argo CD, with which the tests evaluate the health checks and actions of config/argocd, and sync
// what the product and its samples are from a git repository. It lives in a module of its own, so that what only Argo
// CD needs stays out of the product's.
package argocd

import _ "github.com/argoproj/argo-cd/v3/cmd"
