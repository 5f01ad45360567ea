package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// atomicWriter writes the files that one pod sees. The kubelet's AtomicWriter does not do: it lies in
// k8s.io/kubernetes, which is not made to be imported, and it writes every file anew when one has changed.
type atomicWriter struct {
	dir        string
	filesystem Filesystem
	ids        Ownership
}

// Ownership is whose a volume's files are.
type Ownership struct {
	// User is who runs the containers that mount the volume, nil if that is not known. Files that others may not read are
	// his, and all others the node plugin's.
	User *int64
	// Group is the pod's fsGroup, nil if it has none.
	Group *int64
}

// newDataDir is the name of a directory that nobody has made yet.
func newDataDir(now time.Time) string {
	return fmt.Sprintf("%s%s.%d", InternalPrefix, now.UTC().Format("2006_01_02_15_04_05"), rand.Uint64())
}

// write makes dir hold exactly files, in one atomic swap, and returns the name of the directory that ..data leads to:
// next, if something differs.
// What is already there in the same content stays as it is: if nothing differs no file is touched, and if something
// does, the other files keep their inode and modification time.
//
// It also completes whatever an earlier write, killed half-way, left behind.
func (w atomicWriter) write(files []*resolverv1.File, next string) (string, error) {
	current, err := os.Readlink(filepath.Join(w.dir, DataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if current == "" || !w.holds(current, files) {
		if err := w.swap(current, next, files); err != nil {
			return "", err
		}
		current = next
	}
	return current, w.tidy(current, files)
}

// holds tells whether the data directory holds exactly files.
func (w atomicWriter) holds(dataDir string, files []*resolverv1.File) bool {
	found := -1 // for the directory itself
	err := filepath.WalkDir(filepath.Join(w.dir, dataDir), func(_ string, _ fs.DirEntry, err error) error {
		found++
		return err
	})
	if err != nil || found != len(files)+len(directories(files)) {
		return false
	}
	for _, file := range files {
		if !w.same(dataDir, file) {
			return false
		}
	}
	return true
}

func (w atomicWriter) same(dataDir string, file *resolverv1.File) bool {
	path := filepath.Join(w.dir, dataDir, file.GetPath())
	// The mode belongs to the inode, which a link would share.
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != w.mode(file) {
		return false
	}
	if stat, is := info.Sys().(*syscall.Stat_t); is && int64(stat.Uid) != int64(w.user(file, os.Geteuid())) {
		return false
	}
	content, err := os.ReadFile(path)
	return err == nil && bytes.Equal(content, file.GetContent())
}

// mode is what the file's author chose. Otherwise everybody in the pod may read, or with an fsGroup only that group.
func (w atomicWriter) mode(file *resolverv1.File) fs.FileMode {
	switch {
	case file.GetMode() != 0:
		return fs.FileMode(file.GetMode()).Perm()
	case w.ids.Group != nil:
		return 0o440
	default:
		return 0o644
	}
}

// user is whose the file is, and otherwise if it is nobody's but the node plugin's. Programs such as ssh take no key
// that belongs to somebody else, or that others may read.
func (w atomicWriter) user(file *resolverv1.File, otherwise int) int {
	if w.ids.User == nil || *w.ids.User < 0 || w.mode(file)&0o007 != 0 {
		return otherwise
	}
	return int(*w.ids.User)
}

// swap writes the data directory next and leads ..data to it.
func (w atomicWriter) swap(current, next string, files []*resolverv1.File) error {
	if err := w.filesystem.Mkdir(filepath.Join(w.dir, next), 0o755); err != nil {
		return err
	}
	for _, directory := range directories(files) {
		if err := w.filesystem.Mkdir(filepath.Join(w.dir, next, directory), 0o755); err != nil {
			return err
		}
	}
	for _, file := range files {
		if err := w.writeFile(current, next, file); err != nil {
			return err
		}
	}
	link := filepath.Join(w.dir, newDataLink)
	err := w.filesystem.Symlink(next, link)
	if errors.Is(err, fs.ErrExist) {
		// A process that was killed here left one.
		if failure := w.filesystem.Remove(link); failure != nil {
			return failure
		}
		err = w.filesystem.Symlink(next, link)
	}
	if err != nil {
		return err
	}
	return w.filesystem.Rename(link, filepath.Join(w.dir, DataLink))
}

func (w atomicWriter) writeFile(current, next string, file *resolverv1.File) error {
	path := filepath.Join(w.dir, next, file.GetPath())
	if current != "" && w.same(current, file) {
		return w.filesystem.Link(filepath.Join(w.dir, current, file.GetPath()), path)
	}
	if err := w.filesystem.WriteFile(path, file.GetContent(), w.mode(file)); err != nil {
		return err
	}
	user, group := w.user(file, -1), -1
	if w.ids.Group != nil {
		group = int(*w.ids.Group)
	}
	if user == -1 && group == -1 {
		return nil
	}
	return w.filesystem.Chown(path, user, group)
}

// tidy makes the links that the pod opens, removes those of files that are gone, and removes what no link leads to.
func (w atomicWriter) tidy(current string, files []*resolverv1.File) error {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(entries))
	for _, entry := range entries {
		there[entry.Name()] = true
	}
	keep := map[string]bool{DataLink: true, current: true}
	for _, file := range files {
		name, _, _ := strings.Cut(file.GetPath(), "/") // a link to a directory leads to all that it holds
		made := keep[name] || there[name]
		keep[name] = true
		if made {
			continue
		}
		if err := w.filesystem.Symlink(filepath.Join(DataLink, name), filepath.Join(w.dir, name)); err != nil {
			return err
		}
	}
	for _, entry := range entries {
		if keep[entry.Name()] {
			continue
		}
		if err := w.filesystem.RemoveAll(filepath.Join(w.dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
