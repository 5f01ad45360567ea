package volume

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Filesystem is every change that the driver makes to a file system. Each method is one step of a publish: tests make a
// step fail, or stop the driver after it.
type Filesystem interface {
	// Mkdir makes a directory of exactly this mode, whatever the umask. An existing directory is no error and keeps its
	// mode.
	Mkdir(path string, mode fs.FileMode) error
	// WriteFile makes a file that did not exist, of exactly this mode, whatever the umask.
	WriteFile(path string, content []byte, mode fs.FileMode) error
	// Chown changes the user and the group of a file; -1 leaves one as it is.
	Chown(path string, user, group int) error
	Symlink(target, path string) error
	Link(existing, path string) error
	Rename(from, to string) error
	// Remove removes a file, a link or an empty directory; one that does not exist is no error.
	Remove(path string) error
	// RemoveAll removes a directory with all that it holds.
	RemoveAll(path string) error
}

// OSFilesystem is the real file system.
type OSFilesystem struct{}

// Mkdir implements Filesystem.
func (OSFilesystem) Mkdir(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrExist) {
		// Lstat, so that nobody leads the driver elsewhere with a link.
		if info, statErr := os.Lstat(path); statErr == nil && info.IsDir() {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// WriteFile implements Filesystem. It does without os.File, which asks five things more of the kernel before the first
// write, of every file.
func (OSFilesystem) WriteFile(path string, content []byte, mode fs.FileMode) error {
	file, err := retried(func() (int, error) {
		return unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	for err == nil && len(content) > 0 {
		var written int
		written, err = retried(func() (int, error) { return unix.Write(file, content) })
		content = content[max(written, 0):]
	}
	if err == nil {
		_, err = retried(func() (int, error) { return 0, unix.Fchmod(file, uint32(mode.Perm())) })
	}
	err = errors.Join(err, unix.Close(file))
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// retried repeats a system call that a signal interrupts.
func retried(call func() (int, error)) (int, error) {
	for {
		result, err := call()
		if !errors.Is(err, unix.EINTR) {
			return result, err
		}
	}
}

// Chown implements Filesystem.
func (OSFilesystem) Chown(path string, user, group int) error { return os.Chown(path, user, group) }

// Symlink implements Filesystem.
func (OSFilesystem) Symlink(target, path string) error { return os.Symlink(target, path) }

// Link implements Filesystem.
func (OSFilesystem) Link(existing, path string) error { return os.Link(existing, path) }

// Rename implements Filesystem.
func (OSFilesystem) Rename(from, to string) error {
	if _, err := retried(func() (int, error) { return 0, unix.Rename(from, to) }); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// RemoveAll implements Filesystem.
func (OSFilesystem) RemoveAll(path string) error { return os.RemoveAll(path) }

// Remove implements Filesystem.
func (OSFilesystem) Remove(path string) error {
	// Not os.Remove at once, which takes two calls to find out that there is nothing.
	if err := unix.Unlink(path); err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
