package env

import (
	"os/exec"
	"runtime"
)

// startChild starts a server that ends with the test process. The channel is closed when it has ended.
func startChild(command *exec.Cmd) (<-chan struct{}, error) {
	dieWithParent(command)
	started, exited := make(chan error), make(chan struct{})
	go func() {
		// Linux ends the child when the thread that started it ends, so the thread is kept for as long as the child
		// lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait()
		}
		close(exited)
	}()
	return exited, <-started
}
