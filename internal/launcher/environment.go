package launcher

import (
	"fmt"
	"slices"
	"strings"
)

// variable is one of the environment, and the file that it comes from.
type variable struct{ name, value, file string }

// String and GoString keep the value out of everything that is printed.
func (v variable) String() string { return v.name + " of " + v.file }

// GoString implements fmt.GoStringer.
func (v variable) GoString() string { return v.String() }

// variables are what is read of all sources, in the order of their names.
type variables []variable

// read reads all sources.
func (o *options) read() (variables, error) {
	found := map[string]variable{}
	missing := map[string]bool{}
	for _, name := range o.only {
		missing[name] = true
	}
	for _, s := range o.sources {
		files, err := s.read(func(name string) bool { return len(o.only) == 0 || slices.Contains(o.only, name) })
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			delete(missing, file.name)
			v, failed := o.variable(s, file)
			if failed != nil {
				return nil, failed
			}
			if other, twice := found[v.name]; twice {
				return nil, fmt.Errorf("the files %s and %s both make the variable %s: give one of them a prefix (--from=PREFIX=DIRECTORY), or leave it out by --only",
					other.file, v.file, v.name)
			}
			found[v.name] = v
		}
	}
	for _, name := range o.only {
		if missing[name] {
			return nil, fmt.Errorf("--only names the file %s, which no Connection has that is mounted at --from", name)
		}
	}
	all := make(variables, 0, len(found))
	for _, v := range found {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b variable) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

func (o *options) variable(s source, f file) (variable, error) {
	path := s.directory + "/" + f.name
	name := s.prefix + f.name
	if o.upper {
		name = upperName(name)
	}
	switch {
	case !isName(name) && o.upper:
		return variable{}, fmt.Errorf("the file %s makes no name of a variable, which cannot begin with a digit: give a prefix (--from=PREFIX=DIRECTORY), or leave it out by --only", path)
	case !isName(name):
		return variable{}, fmt.Errorf("the file %s makes no name of a variable: --upper would make %s of it, and --only leaves it out", path, upperName(name))
	case strings.Contains(f.content, "\x00"):
		return variable{}, fmt.Errorf("the file %s holds a NUL byte, which no variable can: leave it out by --only, and have the program read the file", path)
	case len(name)+len("=")+len(f.content) >= maxVariable:
		return variable{}, fmt.Errorf("the file %s is longer than the 128 KiB that Linux takes of a variable: leave it out by --only, and have the program read the file", path)
	}
	return variable{name, f.content, path}, nil
}

// over returns an environment with the variables in it. They replace what the image or the pod has under their names:
// which of both it was cannot be told, and images have defaults.
func (all variables) over(environ []string) []string {
	merged := make([]string, 0, len(environ)+len(all))
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		_, replaced := slices.BinarySearchFunc(all, name, func(v variable, name string) int {
			return strings.Compare(v.name, name)
		})
		if !replaced {
			merged = append(merged, entry)
		}
	}
	for _, v := range all {
		merged = append(merged, v.name+"="+v.value)
	}
	return merged
}
