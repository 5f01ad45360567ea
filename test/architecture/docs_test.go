package architecture_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

var (
	// namedFile is a file or directory of this checkout that a document names.
	namedFile = regexp.MustCompile("`((?:api|cmd|config|controllers|docs|hack|internal|test)/[A-Za-z0-9_./-]+)`")
	// namedSpec is a test, by words of its name, in a file.
	namedSpec = regexp.MustCompile("\"([^\"]+)\"\\s+in\\s+`(test/[A-Za-z0-9_./-]+_test\\.go)`")
)

// What documents say that shows something must be there, and be called so.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	g := NewWithT(t)
	documents, err := filepath.Glob(filepath.Join(root, "*.md"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			documents = append(documents, path)
		}
		return err
	})).To(Succeed())
	files, specs := 0, 0
	for _, document := range documents {
		content, failed := os.ReadFile(document)
		g.Expect(failed).NotTo(HaveOccurred())
		for _, match := range namedFile.FindAllStringSubmatch(string(content), -1) {
			if strings.Contains(match[1], "NAME") {
				continue // of a pattern
			}
			files++
			g.Expect(filepath.Join(root, match[1])).To(BeAnExistingFile(), document)
		}
		for _, match := range namedSpec.FindAllStringSubmatch(string(content), -1) {
			specs++
			source, missing := os.ReadFile(filepath.Join(root, match[2]))
			g.Expect(missing).NotTo(HaveOccurred(), document)
			g.Expect(string(source)).To(ContainSubstring(match[1]), "%s says that %s has it", document, match[2])
		}
	}
	g.Expect(files).To(BeNumerically(">", 50), "the search finds names")
	g.Expect(specs).To(BeNumerically(">", 3), "the search finds specs")
}
