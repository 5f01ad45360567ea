package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// chowns notes who files are given to, and gives them to nobody.
type chowns struct {
	OSFilesystem
	calls map[string]string
}

func (c chowns) Chown(path string, user, group int) error {
	c.calls[filepath.Base(path)] = fmt.Sprintf("%d:%d", user, group)
	return nil
}

func TestFilesThatExcludeOthersBelongToWhoeverMountsThem(t *testing.T) {
	files := []*resolverv1.File{
		{Path: "default"}, {Path: "key", Mode: 0o400}, {Path: "shared", Mode: 0o440}, {Path: "public", Mode: 0o444}, {Path: "script", Mode: 0o511},
	}
	user, group := int64(12345), int64(4242)
	for name, test := range map[string]struct {
		ids  Ownership
		want map[string]string
	}{
		"nobody is known": {Ownership{}, map[string]string{}},
		"a user":          {Ownership{User: &user}, map[string]string{"key": "12345:-1", "shared": "12345:-1"}},
		"a group": {Ownership{Group: &group}, map[string]string{
			"default": "-1:4242", "key": "-1:4242", "shared": "-1:4242", "public": "-1:4242", "script": "-1:4242"}},
		"both": {Ownership{User: &user, Group: &group}, map[string]string{
			"default": "12345:4242", "key": "12345:4242", "shared": "12345:4242", "public": "-1:4242", "script": "-1:4242"}},
		"no user at all": {Ownership{User: new(int64(-1))}, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			fs := chowns{calls: map[string]string{}}
			_, err := atomicWriter{dir: t.TempDir(), filesystem: fs, ids: test.ids}.write(files, newDataDir(clock.RealClock{}.Now()))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(fs.calls).To(Equal(test.want))
		})
	}
}

func TestAFileOfAnotherIsWrittenAnew(t *testing.T) {
	g := NewWithT(t)
	self, other := int64(os.Geteuid()), int64(os.Geteuid()+1)
	w := atomicWriter{dir: t.TempDir(), filesystem: chowns{calls: map[string]string{}}, ids: Ownership{User: &self}}
	files := []*resolverv1.File{{Path: "key", Mode: 0o400}, {Path: "public", Mode: 0o444}}
	first, err := w.write(files, newDataDir(clock.RealClock{}.Now()))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.write(files, newDataDir(clock.RealClock{}.Now()))).To(Equal(first), "nothing differs")
	w.ids.User = &other
	g.Expect(w.write(files, newDataDir(clock.RealClock{}.Now()))).NotTo(Equal(first))
}
