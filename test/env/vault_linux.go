package env

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends the server with the test process, however that ends: go test kills one that takes too long.
func dieWithParent(command *exec.Cmd) {
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
