// Site makes a site of the Markdown in a checkout, without a network: README.md, what lies under docs/, and a reference
// of the API from the CRDs, which are also what `kubectl explain` shows. It fails if a link leads nowhere, in a page or
// within one.
//
//	site -root . -output bin/site
package main

import (
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	root := flag.String("root", ".", "the checkout")
	output := flag.String("output", "", "the directory to write to, which is deleted before; none only checks the links")
	flag.Parse()
	if err := run(*root, *output); err != nil {
		fmt.Fprintln(os.Stderr, "site: "+err.Error())
		os.Exit(1)
	}
}

// site is all pages and files by their path in the checkout.
type site struct {
	root  string
	pages map[string]*page
	files map[string]bool // that pages link to, copied as they are
	dead  []string
}

func run(root, output string) error {
	s := &site{root: root, pages: map[string]*page{}, files: map[string]bool{}}
	names, err := s.documents()
	if err != nil {
		return err
	}
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		s.pages[name] = parse(name, content)
	}
	reference, err := apiReference(root)
	if err != nil {
		return err
	}
	s.pages[reference.name] = reference
	for _, name := range slices.Sorted(keys(s.pages)) {
		s.resolve(s.pages[name])
	}
	if len(s.dead) > 0 {
		return fmt.Errorf("links that lead nowhere:\n  %s", strings.Join(s.dead, "\n  "))
	}
	if output == "" {
		return nil
	}
	return s.write(output)
}

// documents are the Markdown files at the top and under docs/.
func (s *site) documents() ([]string, error) {
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(s.root, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range found {
			name, err := filepath.Rel(s.root, file)
			if err != nil {
				return nil, err
			}
			names = append(names, filepath.ToSlash(name))
		}
	}
	return names, nil
}

// address is where a page or file is found in the site.
func address(name string) string {
	if name == "README.md" {
		return "index.html"
	}
	if base, found := strings.CutSuffix(name, ".md"); found {
		return base + ".html"
	}
	return name
}

// relative is the link from a page to a page, file or directory.
func relative(from, to string) string {
	there, err := filepath.Rel(path.Dir(address(from)), address(to))
	if err != nil {
		panic(err) // both are relative to the root
	}
	return filepath.ToSlash(there)
}

func (s *site) write(output string) error {
	if err := os.RemoveAll(output); err != nil {
		return err
	}
	for _, p := range s.pages {
		content, err := s.render(p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := write(filepath.Join(output, address(p.name)), content); err != nil {
			return err
		}
	}
	for name := range s.files {
		if err := s.copy(output, name); err != nil {
			return err
		}
	}
	return nil
}

// copy copies a file, or a directory with a list of what is in it.
func (s *site) copy(output, name string) error {
	info, err := os.Stat(filepath.Join(s.root, name))
	if err != nil {
		return err
	}
	if !info.IsDir() {
		content, err := os.ReadFile(filepath.Join(s.root, name))
		if err != nil {
			return err
		}
		return write(filepath.Join(output, name), content)
	}
	entries, err := os.ReadDir(filepath.Join(s.root, name))
	if err != nil {
		return err
	}
	var list strings.Builder
	fmt.Fprintf(&list, "# %s\n\n", name)
	for _, entry := range entries {
		if err := s.copy(output, path.Join(name, entry.Name())); err != nil {
			return err
		}
		target := entry.Name()
		if info, err := os.Stat(filepath.Join(s.root, name, target)); err == nil && info.IsDir() {
			target += "/index.html"
		}
		fmt.Fprintf(&list, "- [%s](%s)\n", entry.Name(), target)
	}
	index := parse(path.Join(name, "index.md"), []byte(list.String()))
	content, err := s.render(index)
	if err != nil {
		return err
	}
	return write(filepath.Join(output, address(index.name)), content)
}

func write(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o644)
}
