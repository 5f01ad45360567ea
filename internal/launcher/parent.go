package launcher

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pollInterval is how often the links of volumes are looked at. That is one readlink(2) each, and needs none of the
// few inotify instances that a user has on a node.
const pollInterval = time.Second

// endedError is how a program ended: its exit code.
type endedError struct{ code int }

func (e *endedError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// parent runs a program as its child, and follows changes. It does what the first process of a container has to: it
// passes signals on and takes in orphans that have ended.
//
// It uses ForkExec and wait4, and not os/exec: to wait for whatever child has ended would take the end of a program
// from who waits for that one.
type parent struct {
	options *options
	program string
	environ []string
	stderr  io.Writer

	child int
	// has are the variables that the child was started with; seen are the revisions that they, or the last reaction, are
	// of.
	has  variables
	seen []string
	// command is the process of a reaction, 0 if there is none.
	command int
	// stopping: the child is being restarted, until killed at the latest.
	stopping bool
	kill     time.Time
	// ending: somebody asked the child to end, so that it is not started again.
	ending bool
	// changed is when the last change was seen that nothing was done about; zero: there is none.
	changed time.Time
	latest  []string
}

// run starts the program and returns when it has ended, with an endedError.
func (p *parent) run() error {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	defer signal.Stop(signals)
	if err := p.start(); err != nil {
		return err
	}
	ticks := time.NewTicker(pollInterval)
	defer ticks.Stop()
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGCHLD {
				if err := p.reap(); err != nil {
					return err
				}
			} else if number, is := s.(syscall.Signal); is {
				p.forward(number)
			}
		case now := <-ticks.C:
			p.look(now)
		}
	}
}

// start starts the program with what is mounted now.
func (p *parent) start() error {
	p.seen = p.revisions() // before they are read, so that a change in between is one
	p.latest, p.changed = p.seen, time.Time{}
	read, err := p.options.read()
	if err != nil {
		return err
	}
	attributes := &syscall.ProcAttr{
		Env:   read.over(p.environ),
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{},
	}
	if _, failed := unix.IoctlGetTermios(0, terminalRequest); failed == nil {
		// What is typed at a terminal goes to the program only: passed on, it would come twice.
		attributes.Sys.Foreground = true
	}
	pid, err := syscall.ForkExec(p.program, p.options.command, attributes) //nolint:gosec // what it is for
	if err != nil {
		return startFault(p.options.command[0], err)
	}
	p.child, p.has = pid, read
	return nil
}

// notForwarded are signals that the kernel or Go's runtime sends to this process for its own sake.
var notForwarded = []syscall.Signal{syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE, syscall.SIGTTIN, syscall.SIGTTOU}

// asksToEnd are those that end a program.
var asksToEnd = []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT}

func (p *parent) forward(s syscall.Signal) {
	if slices.Contains(notForwarded, s) {
		return
	}
	p.ending = p.ending || slices.Contains(asksToEnd, s) && p.stopping
	_ = syscall.Kill(p.child, s)
}

// reap takes in all children that have ended. The error ends this program.
func (p *parent) reap() error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil || pid <= 0:
			return nil //nolint:nilerr // there is no child, or none has ended
		case pid == p.command:
			p.command = 0
			if code := exitCode(status); code != 0 {
				p.say("%s ended with exit code %d", p.options.onChange.command[0], code)
			}
		case pid == p.child:
			if !p.stopping || p.ending {
				return &endedError{exitCode(status)}
			}
			p.stopping = false
			// If that cannot be read, the kubelet's next start of the container says why.
			if err := p.start(); err != nil {
				return err
			}
		}
	}
}

func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// revisions are those of all sources. One that cannot be read is empty: what is done then fails, and says why.
func (p *parent) revisions() []string {
	revisions := make([]string, 0, len(p.options.sources))
	for _, s := range p.options.sources {
		revision, _ := s.revision()
		revisions = append(revisions, revision)
	}
	return revisions
}

// look finds out whether something has changed, and does what is due.
func (p *parent) look(now time.Time) {
	if p.stopping {
		if !now.Before(p.kill) {
			_ = syscall.Kill(p.child, syscall.SIGKILL)
		}
		return
	}
	if revisions := p.revisions(); !slices.Equal(revisions, p.latest) {
		p.latest, p.changed = revisions, now
		if slices.Equal(revisions, p.seen) {
			p.changed = time.Time{}
		}
	}
	if p.changed.IsZero() || now.Sub(p.changed) < p.options.debounce || p.command != 0 {
		return
	}
	p.changed, p.seen = time.Time{}, p.latest
	if err := p.react(now); err != nil {
		p.say("a change is mounted, and the program keeps what it has: %v", err)
	}
}

func (p *parent) react(now time.Time) error {
	if p.options.onChange.kind == notify {
		return syscall.Kill(p.child, p.options.onChange.signal)
	}
	read, err := p.options.read()
	if err != nil || slices.Equal(read, p.has) {
		return err
	}
	if p.options.onChange.kind == restart {
		p.say("values have changed: %s is started again", p.options.command[0])
		p.stopping, p.kill = true, now.Add(p.options.stopTimeout)
		return syscall.Kill(p.child, syscall.SIGTERM)
	}
	command := p.options.onChange.command
	path, err := find(command[0])
	if err != nil {
		return err
	}
	attributes := &syscall.ProcAttr{Env: read.over(p.environ), Files: []uintptr{0, 1, 2}}
	p.command, err = syscall.ForkExec(path, command, attributes) //nolint:gosec // what it is for
	if err != nil {
		return startFault(command[0], err)
	}
	p.has = read
	return nil
}

func (p *parent) say(format string, args ...any) {
	_, _ = fmt.Fprintf(p.stderr, "sallyport-exec: "+format+"\n", args...)
}
