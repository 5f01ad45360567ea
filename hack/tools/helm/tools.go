//go:build tools

// Package tools pins Helm, with which the chart is tested and installed.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
