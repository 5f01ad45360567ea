package node

import (
	"errors"
	"io/fs"
	"sync"

	"sallyport.dev/sallyport/internal/node/mount"
	"sallyport.dev/sallyport/internal/node/volume"
)

var (
	errInjected = errors.New("injected failure")
	errKilled   = errors.New("the process is dead")
)

// steps counts every change that the driver makes to disk and mount table, and can make one fail or be the last.
type steps struct {
	mu        sync.Mutex
	count     int
	failAt    int
	killAfter int
	kill      func() // how to die; nil: from then on nothing has an effect
	dead      bool
	log       []string
	contents  [][]byte // of all files that were written, ever
}

func (s *steps) do(what string, change func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return errKilled
	}
	s.count++
	s.log = append(s.log, what)
	if s.count == s.failAt {
		return errInjected
	}
	err := change()
	if s.count == s.killAfter {
		if s.kill != nil {
			s.kill()
		}
		// From here on nothing has an effect any more, the undoing of what was done included.
		s.dead = true
		return errKilled
	}
	return err
}

// reset forgets the past and whatever was to happen.
func (s *steps) reset() { s.inject(0, 0) }

// failAtStep has one step fail, counted from now.
func (s *steps) failAtStep(step int) { s.inject(step, 0) }

// killAfterStep has the process die after one step, counted from now.
func (s *steps) killAfterStep(step int) { s.inject(0, step) }

func (s *steps) inject(failAt, killAfter int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count, s.failAt, s.killAfter, s.dead, s.log = 0, failAt, killAfter, false, nil
}

// wrote notes the content of a file; the caller is a step.
func (s *steps) wrote(content []byte) { s.contents = append(s.contents, content) }

func (s *steps) taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func (s *steps) isDead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead
}

// steppedFilesystem is the real file system, counted.
type steppedFilesystem struct {
	*steps
	volume.Filesystem
}

func (f steppedFilesystem) Mkdir(path string, mode fs.FileMode) error {
	return f.do("mkdir "+path, func() error { return f.Filesystem.Mkdir(path, mode) })
}

func (f steppedFilesystem) WriteFile(path string, content []byte, mode fs.FileMode) error {
	return f.do("write "+path, func() error {
		err := f.Filesystem.WriteFile(path, content, mode)
		if err == nil {
			f.wrote(content)
		}
		return err
	})
}

func (f steppedFilesystem) Chown(path string, user, group int) error {
	return f.do("chown "+path, func() error { return f.Filesystem.Chown(path, user, group) })
}

func (f steppedFilesystem) Symlink(target, path string) error {
	return f.do("symlink "+path, func() error { return f.Filesystem.Symlink(target, path) })
}

func (f steppedFilesystem) Link(existing, path string) error {
	return f.do("link "+path, func() error { return f.Filesystem.Link(existing, path) })
}

func (f steppedFilesystem) Rename(from, to string) error {
	return f.do("rename "+to, func() error { return f.Filesystem.Rename(from, to) })
}

func (f steppedFilesystem) Remove(path string) error {
	return f.do("remove "+path, func() error { return f.Filesystem.Remove(path) })
}

func (f steppedFilesystem) RemoveAll(path string) error {
	return f.do("remove all "+path, func() error { return f.Filesystem.RemoveAll(path) })
}

// steppedMounter counts the changes of another mounter.
type steppedMounter struct {
	*steps
	mount.Mounter
}

func (m steppedMounter) Tmpfs(path string, options mount.TmpfsOptions) error {
	return m.do("tmpfs "+path, func() error { return m.Mounter.Tmpfs(path, options) })
}

func (m steppedMounter) BindReadOnly(source, staging, target string) error {
	return m.do("bind "+target, func() error { return m.Mounter.BindReadOnly(source, staging, target) })
}

func (m steppedMounter) Unmount(path string, lazy bool) error {
	return m.do("unmount "+path, func() error { return m.Mounter.Unmount(path, lazy) })
}
