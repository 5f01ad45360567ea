//go:build !linux

package env

import "os/exec"

// dieWithParent does nothing where the kernel does not offer it; Close ends the server.
func dieWithParent(*exec.Cmd) {}
