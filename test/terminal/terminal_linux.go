package terminal

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Terminal is one pseudo-terminal.
type Terminal struct {
	// File is what a program has as its standard streams.
	File *os.File

	keyboard *os.File
	mu       sync.Mutex
	screen   bytes.Buffer
}

// Open opens one. Whoever opens it closes it.
func Open() (*Terminal, error) {
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	fd := int(keyboard.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		_ = keyboard.Close()
		return nil, err
	}
	file, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		_ = keyboard.Close()
		return nil, err
	}
	t := &Terminal{File: file, keyboard: keyboard}
	go t.show()
	return t, nil
}

// show keeps what is written to the terminal, until it is closed.
func (t *Terminal) show() {
	buffer := make([]byte, 4096)
	for {
		n, err := t.keyboard.Read(buffer)
		t.mu.Lock()
		t.screen.Write(buffer[:n])
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Run gives a command the terminal as its standard streams and its controlling terminal, and starts it.
func (t *Terminal) Run(command *exec.Cmd) error {
	command.Stdin, command.Stdout, command.Stderr = t.File, t.File, t.File
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	return command.Start()
}

// Type types text, of which a control character does what it does at a terminal.
func (t *Terminal) Type(text string) error {
	_, err := t.keyboard.WriteString(text)
	return err
}

// Screen is all that was written to the terminal, and what was typed while it echoes.
func (t *Terminal) Screen() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.screen.String()
}

// Echoes tells whether the terminal shows what is typed.
func (t *Terminal) Echoes() bool {
	settings, err := unix.IoctlGetTermios(int(t.File.Fd()), unix.TCGETS)
	return err == nil && settings.Lflag&unix.ECHO != 0
}

// Close closes the terminal.
func (t *Terminal) Close() {
	_ = t.File.Close()
	_ = t.keyboard.Close()
}
