//go:build tools

// Package containerd pins containerd 2, which mounts images as volumes, for the long tests. Distributions have older ones
// as well.
package containerd

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
)
