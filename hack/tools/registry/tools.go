//go:build tools

// Package tools pins the image registry that the end-to-end tests install from.
package tools

import _ "github.com/distribution/distribution/v3/cmd/registry"
