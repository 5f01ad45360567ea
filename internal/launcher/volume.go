package launcher

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// dataLink leads to the directory that holds the current files of a volume, as in one that the kubelet makes of a
// Secret. All files change by the one change of that link.
const dataLink = "..data"

// maxVariable is what Linux takes of one variable, its name and the final NUL included, in bytes (MAX_ARG_STRLEN of
// execve(2)).
const maxVariable = 128 << 10

// maxTries bounds how often a volume is read anew because it changed meanwhile.
const maxTries = 10

// file is one of a volume.
type file struct{ name, content string }

// errChanged: the volume's files are others since the look at them began.
var errChanged = errors.New("it changes again and again while it is read")

// revision is where the link of a volume leads: while that is the same, so are the files.
func (s source) revision() (string, error) {
	target, err := os.Readlink(filepath.Join(s.directory, dataLink))
	switch {
	case err == nil:
		return target, nil
	case isThere(s.directory):
		return "", fmt.Errorf("no Connection is mounted at %s: it has no %s, which the volume of one has; "+
			"a mount with subPath has none either", s.directory, dataLink)
	default:
		return "", fmt.Errorf("there is no %s that can be read in this container: mount the Connection's volume there (volumeMounts)", s.directory)
	}
}

func isThere(directory string) bool {
	_, err := os.Stat(directory)
	return err == nil
}

// read returns the files of one revision.
func (s source) read(wanted func(name string) bool) ([]file, error) {
	var err error
	for range maxTries {
		var revision string
		if revision, err = s.revision(); err != nil {
			return nil, err
		}
		var files []file
		files, err = readDirectory(filepath.Join(s.directory, revision), wanted)
		if err == nil {
			return files, nil
		}
		if now, failed := s.revision(); failed != nil || now == revision {
			break // it is no change that is in the way
		}
		err = errChanged
	}
	return nil, fmt.Errorf("reading %s: %w", s.directory, err)
}

// readDirectory reads the files of one directory, and not those of directories in it, whose names are no variables'.
func readDirectory(path string, wanted func(name string) bool) ([]file, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var files []file
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !wanted(entry.Name()) {
			continue
		}
		content, failed := readFile(root, entry.Name())
		if failed != nil {
			return nil, failed
		}
		files = append(files, file{entry.Name(), content})
	}
	return files, nil
}

func readFile(root *os.Root, name string) (string, error) {
	opened, err := root.Open(name)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("the user of this container may not read the file %s: look at defaultMode of the volume, fsGroup and runAsUser of the pod", name)
		}
		return "", err
	}
	defer func() { _ = opened.Close() }()
	var content strings.Builder
	if n, failed := io.Copy(&content, io.LimitReader(opened, maxVariable)); failed != nil || n == maxVariable {
		if failed == nil {
			failed = fmt.Errorf("the file %s is longer than the 128 KiB that Linux takes of a variable: "+
				"choose files by --only, and have the program read this one", name)
		}
		return "", failed
	}
	return content.String(), nil
}
