package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// The layout in which the kubelet projects Secrets, so that programs which watch one for changes understand it:
//
//	password -> ..data/password
//	..data -> ..2026_01_02_15_04_05.1234567890
//	..2026_01_02_15_04_05.1234567890/password
const (
	dataLink    = "..data"
	newDataLink = "..data_new"
	// internalPrefix cannot begin the name of a file.
	internalPrefix = ".."
)

// fileName is the rule for keys of ConfigMaps and Secrets; internalPrefix is excluded besides. No slash: a file cannot
// be written anywhere else.
var fileName = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)

// checkFiles refuses what a resolver must never send. The resolver checks the same with better sentences, but what
// ends up on a node is for the node to decide.
func checkFiles(files []*resolverv1.File) error {
	if len(files) == 0 {
		return fault.Transient(v1alpha1.ReasonInternal, "the resolver answered without a single file")
	}
	if len(files) > resolverv1.MaxFiles {
		return fault.Terminal(v1alpha1.ReasonTooLarge, "the volume would hold %d files, more than %d", len(files), resolverv1.MaxFiles)
	}
	seen := make(map[string]bool, len(files))
	total := 0
	for _, file := range files {
		name := file.GetPath()
		if !fileName.MatchString(name) || name == "." || strings.HasPrefix(name, internalPrefix) || seen[name] {
			return fault.Terminal(v1alpha1.ReasonInvalidFileName, "%q cannot be the name of a file in the volume", name)
		}
		if mode := file.GetMode(); mode > 0o777 {
			return fault.Terminal(v1alpha1.ReasonInvalidSpec, "the file %q cannot have mode %#o, only permission bits", name, mode)
		}
		seen[name] = true
		total += len(file.GetContent())
	}
	if total > resolverv1.MaxContentBytes {
		return fault.Terminal(v1alpha1.ReasonTooLarge, "the files of the volume would hold %d bytes, more than %d", total, resolverv1.MaxContentBytes)
	}
	return nil
}

// projection writes the files that one pod sees.
type projection struct {
	dir   string
	disk  disk
	group *int64
}

// write makes dir hold exactly files, in one atomic swap, and returns the name of the directory that ..data leads to.
// What is already there in the same content stays as it is: if nothing differs no file is touched, and if something
// does, the other files keep their inode and modification time.
//
// It also completes whatever an earlier write, killed half-way, left behind.
func (p projection) write(files []*resolverv1.File, now time.Time) (string, error) {
	current, err := os.Readlink(filepath.Join(p.dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if current == "" || !p.holds(current, files) {
		if current, err = p.swap(current, files, now); err != nil {
			return "", err
		}
	}
	return current, p.tidy(current, files)
}

// holds tells whether the data directory holds exactly files.
func (p projection) holds(dataDir string, files []*resolverv1.File) bool {
	entries, err := os.ReadDir(filepath.Join(p.dir, dataDir))
	if err != nil || len(entries) != len(files) {
		return false
	}
	for _, file := range files {
		if !p.same(dataDir, file) {
			return false
		}
	}
	return true
}

func (p projection) same(dataDir string, file *resolverv1.File) bool {
	path := filepath.Join(p.dir, dataDir, file.GetPath())
	// The mode belongs to the inode, which a link would share.
	if info, err := os.Lstat(path); err != nil || info.Mode() != p.mode(file) {
		return false
	}
	content, err := os.ReadFile(path)
	return err == nil && bytes.Equal(content, file.GetContent())
}

// mode is what the file's author chose. Otherwise everybody in the pod may read, or with an fsGroup only that group.
func (p projection) mode(file *resolverv1.File) fs.FileMode {
	switch {
	case file.GetMode() != 0:
		return fs.FileMode(file.GetMode()).Perm()
	case p.group != nil:
		return 0o440
	default:
		return 0o644
	}
}

// swap writes a new data directory and leads ..data to it.
func (p projection) swap(current string, files []*resolverv1.File, now time.Time) (string, error) {
	next := fmt.Sprintf("%s%s.%d", internalPrefix, now.UTC().Format("2006_01_02_15_04_05"), rand.Uint64())
	if err := p.disk.Mkdir(filepath.Join(p.dir, next), 0o755); err != nil {
		return "", err
	}
	for _, file := range files {
		if err := p.writeFile(current, next, file); err != nil {
			return "", err
		}
	}
	link := filepath.Join(p.dir, newDataLink)
	if err := p.disk.Remove(link); err != nil {
		return "", err
	}
	if err := p.disk.Symlink(next, link); err != nil {
		return "", err
	}
	return next, p.disk.Rename(link, filepath.Join(p.dir, dataLink))
}

func (p projection) writeFile(current, next string, file *resolverv1.File) error {
	path := filepath.Join(p.dir, next, file.GetPath())
	if current != "" && p.same(current, file) {
		return p.disk.Link(filepath.Join(p.dir, current, file.GetPath()), path)
	}
	if err := p.disk.WriteFile(path, file.GetContent(), p.mode(file)); err != nil || p.group == nil {
		return err
	}
	return p.disk.Chgrp(path, int(*p.group))
}

// tidy makes the links that the pod opens, removes those of files that are gone, and removes what no link leads to.
func (p projection) tidy(current string, files []*resolverv1.File) error {
	keep := map[string]bool{dataLink: true, current: true}
	for _, file := range files {
		name := file.GetPath()
		keep[name] = true
		if _, err := os.Lstat(filepath.Join(p.dir, name)); err == nil {
			continue
		}
		if err := p.disk.Symlink(filepath.Join(dataLink, name), filepath.Join(p.dir, name)); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if keep[entry.Name()] {
			continue
		}
		if err := p.disk.RemoveAll(filepath.Join(p.dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
