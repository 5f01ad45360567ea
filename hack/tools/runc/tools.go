//go:build tools

// Package runc pins the runc that starts containers for containerd 2. It is no part of the module of containerd, which
// asks for other versions of what both use.
package runc

import _ "github.com/opencontainers/runc"
