package volume

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

func filesOf(contents map[string]string) []*resolverv1.File {
	var files []*resolverv1.File
	for path, content := range contents {
		files = append(files, &resolverv1.File{Path: path, Content: []byte(content)})
	}
	return files
}

// seen is what a pod reads, through the links.
func seen(g *WithT, dir string) map[string]string {
	found := map[string]string{}
	var walk func(below string)
	walk = func(below string) {
		entries, err := os.ReadDir(filepath.Join(dir, below))
		g.Expect(err).NotTo(HaveOccurred())
		for _, entry := range entries {
			path := filepath.Join(below, entry.Name())
			if below == "" && strings.HasPrefix(path, "..") {
				continue
			}
			info, err := os.Stat(filepath.Join(dir, path))
			g.Expect(err).NotTo(HaveOccurred())
			if info.IsDir() {
				g.Expect(info.Mode().Perm()).To(Equal(fs.FileMode(0o755)), path)
				walk(path)
				continue
			}
			content, err := os.ReadFile(filepath.Join(dir, path))
			g.Expect(err).NotTo(HaveOccurred())
			found[path] = string(content)
		}
	}
	walk("")
	return found
}

func TestFilesInDirectoriesAreExchangedInOneStep(t *testing.T) {
	g := NewWithT(t)
	writer := atomicWriter{dir: t.TempDir(), filesystem: OSFilesystem{}}
	write := func(contents map[string]string) string {
		current, err := writer.write(filesOf(contents), newDataDir(time.Now()))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(seen(g, writer.dir)).To(Equal(contents))
		return current
	}
	first := map[string]string{"plain": "1", "conf.d/a": "1", "conf.d/b": "1", "conf.d/more/deep/c": "1"}
	current := write(first)
	g.Expect(write(first)).To(Equal(current), "nothing changed")
	unchanged, err := os.Stat(filepath.Join(writer.dir, "conf.d/b"))
	g.Expect(err).NotTo(HaveOccurred())
	link, err := os.Readlink(filepath.Join(writer.dir, "conf.d"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(link).To(Equal("..data/conf.d"), "the swap of ..data exchanges all that is below at once")

	next := write(map[string]string{"plain": "1", "conf.d/a": "2", "conf.d/b": "1"})
	g.Expect(next).NotTo(Equal(current))
	same, err := os.Stat(filepath.Join(writer.dir, "conf.d/b"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.SameFile(unchanged, same)).To(BeTrue())
	write(map[string]string{"conf.d": "a file now"})
	write(map[string]string{"conf.d/plain/x": "a directory again", "plain": "1"})
	write(map[string]string{"plain": "1"})

	g.Expect(os.MkdirAll(filepath.Join(writer.dir, DataLink, "left"), 0o755)).To(Succeed())
	write(map[string]string{"plain": "1"})
	_, err = os.Stat(filepath.Join(writer.dir, DataLink, "left"))
	g.Expect(err).To(MatchError(fs.ErrNotExist), "a directory that does not belong there is noticed")
}

func TestPathsThatLeadElsewhereAreRefused(t *testing.T) {
	for _, path := range []string{
		"", ".", "..", "../a", "a/../b", "a/..", "/a", "a/", "a//b", "./a", "a/.", "..data/a", "a/..b", "a\x00", "a b", "ü", "a\\b",
		strings.Repeat("a/", 8) + "a", strings.Repeat("x", 254),
	} {
		err := ValidateFiles([]*resolverv1.File{{Path: path}})
		NewWithT(t).Expect(fault.Is(err, v1alpha1.ReasonInvalidFileName)).To(BeTrue(), path)
	}
	for _, path := range []string{"a/b", ".a/.b", "a/b.c/-d", strings.Repeat("a/", 7) + "a"} {
		NewWithT(t).Expect(ValidateFiles([]*resolverv1.File{{Path: path}})).To(Succeed(), path)
	}
	both := []*resolverv1.File{{Path: "a/b/c"}, {Path: "a/b"}}
	NewWithT(t).Expect(ValidateFiles(both)).To(MatchError(`"a/b" cannot be a file and a directory of the volume`))
	var many []*resolverv1.File
	for i := range 300 {
		name := strings.Repeat("x", i/26) + string(rune('a'+i%26))
		many = append(many, &resolverv1.File{Path: name + "/f"})
	}
	NewWithT(t).Expect(fault.Is(ValidateFiles(many), v1alpha1.ReasonTooLarge)).To(BeTrue(), "directories take inodes, too")
}

func TestDirectoriesCountAsWhatTheyTake(t *testing.T) {
	g := NewWithT(t)
	flat := SizeOf(filesOf(map[string]string{"a": ""}), State{})
	files := filesOf(map[string]string{"a": "", "d/e/a": ""})
	g.Expect(SizeOf(files, State{})).To(BeNumerically(">=", flat+fileCost(5, 0)+2*inodeCost))
	dir := t.TempDir()
	_, err := atomicWriter{dir: filepath.Join(dir, FilesDir), filesystem: OSFilesystem{}}.write(files, newDataDir(time.Now()))
	g.Expect(err).To(HaveOccurred(), "the volume is not there yet")
	g.Expect(os.Mkdir(filepath.Join(dir, FilesDir), 0o755)).To(Succeed())
	_, err = atomicWriter{dir: filepath.Join(dir, FilesDir), filesystem: OSFilesystem{}}.write(files, newDataDir(time.Now()))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(mountedSize(dir, State{})).To(Equal(SizeOf(files, State{})), "a plugin that starts counts as the one before")
}

func FuzzPaths(f *testing.F) {
	for _, seed := range []string{"a/b", "..", "a/../../b", "/etc/passwd", "a//b", "..data/x", "a/./b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if ValidateFiles([]*resolverv1.File{{Path: path}}) != nil {
			return
		}
		if !filepath.IsLocal(path) || filepath.Clean(path) != path || strings.HasPrefix(path, InternalPrefix) {
			t.Fatalf("%q was accepted", path)
		}
	})
}
