// Package launcher is sallyport-exec: it reads the volumes of Connections that are mounted in its container, puts
// their values into the environment of a program, and becomes that program, or stays as its parent to follow changes.
//
// A variable that a container gets from its pod, by whatever way, goes through the container runtime, which writes the
// container's specification to its database. What is read here stays in the memory of the program.
//
// It imports nothing of Kubernetes: it starts before every program that it is used for, and is copied into containers
// of others.
package launcher

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// version is set by the linker.
var version = "devel"

// Exit codes, beside those of the program. They are those of env, nohup and timeout.
const (
	exitOK = 0
	// exitFailed: the program was not started, for a reason that is none of its own.
	exitFailed = 125
	// exitNotExecutable: the program is there and cannot be run.
	exitNotExecutable = 126
	exitNotFound      = 127
)

// launchFault is why a program was not started, and the exit code for that.
type launchFault struct {
	code int
	text string
}

func (f *launchFault) Error() string { return f.text }

// Main does what the arguments say in the given environment, and returns the exit code if there is anything to return
// to.
func Main(args, environ []string, stdout, stderr io.Writer) int {
	err := run(args, environ, stdout, stderr)
	if err == nil {
		return exitOK
	}
	if ended, is := errors.AsType[*endedError](err); is {
		return ended.code
	}
	_, _ = fmt.Fprintf(stderr, "sallyport-exec: %v\n", err)
	code := exitFailed
	if failed, is := errors.AsType[*launchFault](err); is {
		code = failed.code
	}
	return code
}

func run(args, environ []string, stdout, stderr io.Writer) error {
	options, err := parse(args, stdout)
	switch {
	case err != nil:
		return err
	case options == nil: // it has answered
		return nil
	case options.install != "":
		return install(options.install)
	}
	program, err := find(options.command[0])
	if err != nil {
		return err
	}
	if options.onChange.kind != ignore {
		return (&parent{options: options, program: program, environ: environ, stderr: stderr}).run()
	}
	read, err := options.read()
	if err != nil {
		return err
	}
	err = syscall.Exec(program, options.command, read.over(environ)) //nolint:gosec // what it is for
	return startFault(options.command[0], err)
}

// find returns the path of a program, which is looked for as a shell does.
func find(command string) (string, error) {
	path, err := exec.LookPath(command)
	switch {
	case err == nil, errors.Is(err, exec.ErrDot):
		return path, nil
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EISDIR):
		return "", &launchFault{exitNotExecutable, fmt.Sprintf("%s: permission denied: it is a directory, or its file mode lacks x", command)}
	default:
		return "", &launchFault{exitNotFound, command + ": there is no such program in this container"}
	}
}

// startFault says why a program could not be started. It names no variable's value.
func startFault(command string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.E2BIG):
		return &launchFault{exitFailed, fmt.Sprintf("%s: arguments and environment together are more than Linux takes: "+
			"choose files by --only, and have the program read the others", command)}
	case errors.Is(err, syscall.ENOEXEC):
		return &launchFault{exitNotExecutable, command + ": no program for this machine, and no script that begins with #!"}
	case errors.Is(err, syscall.ENOENT):
		return &launchFault{exitNotFound, command + ": the interpreter or loader that it names is not in this container"}
	default:
		return &launchFault{exitNotExecutable, fmt.Sprintf("%s: %v", command, err)}
	}
}
