package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// files are the content of an archive by path. An archive is the same whenever and wherever it is made: its files are
// in order, belong to root and have the time of the commit.
type files map[string]file

type file struct {
	content    []byte
	executable bool
}

func (f files) tar(at time.Time) ([]byte, error) {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: name, Size: int64(len(f[name].content)), Mode: 0o644,
			ModTime: at, Format: tar.FormatPAX,
		}
		if f[name].executable {
			header.Mode = 0o755
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f[name].content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return buffer.Bytes(), err
}

func (f files) tarGzip(at time.Time) ([]byte, error) {
	archive, err := f.tar(at)
	if err != nil {
		return nil, err
	}
	var buffer bytes.Buffer
	w := gzip.NewWriter(&buffer)
	if _, err := w.Write(archive); err != nil {
		return nil, err
	}
	err = w.Close()
	return buffer.Bytes(), err
}

// readDir returns the files below a directory, those behind symbolic links too, below a prefix.
func readDir(dir, prefix string) (files, error) {
	all := files{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		path, name := filepath.Join(dir, entry.Name()), prefix+"/"+entry.Name()
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			below, err := readDir(path, name)
			if err != nil {
				return nil, err
			}
			maps.Copy(all, below)
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		all[name] = file{content: content, executable: info.Mode()&0o111 != 0}
	}
	return all, nil
}

// writeTo writes the files below a directory.
func (f files) writeTo(dir string) error {
	for name, file := range f {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if file.executable {
			mode = 0o755
		}
		if err := os.WriteFile(path, file.content, mode); err != nil {
			return err
		}
	}
	return nil
}

// without removes the files whose paths begin so.
func (f files) without(prefix string) {
	maps.DeleteFunc(f, func(name string, _ file) bool { return strings.HasPrefix(name, prefix) })
}
