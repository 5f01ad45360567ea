package scale

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"sallyport.dev/sallyport/internal/node/mount"
)

// links stand for mounts, so that a hundred thousand of them cost the kernel nothing and need no root: a tmpfs is the
// directory itself, which loses its content when it is unmounted, and a bind mount is a link in place of the target.
type links struct {
	mu      sync.Mutex
	mounted map[string]struct{}
}

func newLinks() *links { return &links{mounted: map[string]struct{}{}} }

func (l *links) Tmpfs(path string, _ mount.TmpfsOptions) error {
	l.put(path)
	return nil
}

func (l *links) BindReadOnly(source, _, target string) error {
	if err := errors.Join(os.Remove(target), os.Symlink(source, target)); err != nil {
		return err
	}
	l.put(target)
	return nil
}

func (l *links) Unmount(path string, _ bool) error {
	l.mu.Lock()
	_, mounted := l.mounted[path]
	delete(l.mounted, path)
	l.mu.Unlock()
	if !mounted {
		return nil
	}
	if info, err := os.Lstat(path); err != nil {
		return err
	} else if info.Mode()&os.ModeSymlink != 0 {
		return errors.Join(os.Remove(path), os.Mkdir(path, 0o750))
	}
	entries, err := os.ReadDir(path)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(path, entry.Name())))
	}
	return err
}

func (l *links) Mounted(path string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, mounted := l.mounted[path]
	return mounted, nil
}

func (*links) Shared(string) (bool, error) { return true, nil }

func (l *links) put(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mounted[path] = struct{}{}
}
