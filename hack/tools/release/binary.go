package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// program is one that the image holds.
type program struct{ name, source, version string }

var (
	sallyport = program{"sallyport", ".", "sallyport.dev/sallyport/internal/app.version"}
	launcher  = program{"sallyport-exec", "./cmd/sallyport-exec", "sallyport.dev/sallyport/internal/launcher.version"}
)

// compile builds a program for a platform and returns it with what Go says that it was built from.
func (r *release) compile(platform string, p program) ([]byte, *buildinfo.BuildInfo, error) {
	system, architecture, ok := strings.Cut(platform, "/")
	if !ok {
		return nil, nil, fmt.Errorf("platform %q has not the form linux/amd64", platform)
	}
	dir, err := os.MkdirTemp("", "sallyport-release")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, p.name)
	linker := "-s -w -X " + p.version + "=" + r.version
	command := exec.Command("go", "build", "-trimpath", "-ldflags", linker, "-o", path, p.source)
	command.Dir, command.Stderr = r.root, os.Stderr
	// What decides the bytes is said here, whatever the caller's environment has.
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOEXPERIMENT=", "GOWORK=off",
		"GOOS="+system, "GOARCH="+architecture, "GOAMD64=v1", "GOARM64=v8.0")
	if err := command.Run(); err != nil {
		return nil, nil, fmt.Errorf("go build: %w", err)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	content, err := os.ReadFile(path)
	return content, info, err
}

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)(\.(md|txt|mit))?$`)

// licences returns the licences and notices of all modules in a program, and of Go's own library.
func (r *release) licences(info *buildinfo.BuildInfo) (files, error) {
	goRoot, err := output(exec.Command("go", "env", "GOROOT"))
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{"go": goRoot}
	for _, module := range info.Deps {
		for module.Replace != nil {
			module = module.Replace
		}
		command := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module.Path)
		command.Dir = r.root
		if dirs[module.Path], err = output(command); err != nil {
			return nil, err
		}
	}
	all := files{}
	for module, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		found := false
		for _, entry := range entries {
			if !licenceFile.MatchString(entry.Name()) || entry.IsDir() {
				continue
			}
			content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil {
				return nil, err
			}
			all["licences/"+module+"/"+entry.Name()], found = file{content: content}, true
		}
		if !found {
			fmt.Fprintf(os.Stderr, "  no licence file in %s\n", module)
		}
	}
	return all, nil
}
