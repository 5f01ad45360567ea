package volume

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sallyport.dev/sallyport/internal/node/mount"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// What a tmpfs takes of the kernel's memory besides the pages of content, rounded up from what Linux 6.18 charges: 16
// KiB for a volume with one file, 950 bytes for each inode with its name, 500 more where the name is long, a page for
// the target of a long link, 580 bytes for every 64 pages of a file with more than one. TestMemoryIsChargedInFull
// compares.
const (
	// Cost is what a volume takes whatever it holds: its tmpfs and mounts, directories and state, and what the plugin
	// remembers of it, token and all.
	Cost = 64 << 10

	inodeCost     = 1536
	longNameCost  = 512
	longName      = 32
	longTarget    = 128
	pageIndexCost = 640
	indexedPages  = 64

	// maxState is the most that attributes and leases of a volume take together on its tmpfs.
	maxState = 512 << 10
)

// MaxCost is what the files of the largest volume take.
var MaxCost = resolverv1.MaxFiles*fileCost(maxNameLength, 0) + contentCost(resolverv1.MaxContentBytes) +
	resolverv1.MaxFiles*(contentCost(1)+pageIndexCost)

// SizeOf is the memory that a volume with these files and this state takes.
func SizeOf(files []*resolverv1.File, state State) int64 {
	bytes := Cost + state.cost()
	for _, file := range files {
		bytes += fileCost(len(file.GetPath()), int64(len(file.GetContent())))
	}
	for _, directory := range directories(files) {
		bytes += directoryCost(len(directory))
	}
	return bytes
}

// directoryCost is what a directory takes: it has no pages, and a link at most.
func directoryCost(nameLength int) int64 { return fileCost(nameLength, 0) }

// fileCost is what a file takes: itself and the link that the pod opens.
func fileCost(nameLength int, size int64) int64 {
	bytes := contentCost(size) + 2*inodeCost
	if nameLength >= longName {
		bytes += 2 * longNameCost
	}
	if len(DataLink)+1+nameLength >= longTarget {
		bytes += InPages(1)
	}
	return bytes
}

func contentCost(size int64) int64 {
	bytes, page := InPages(size), InPages(1)
	if bytes > page {
		bytes += pageIndexCost * (1 + (bytes/page+indexedPages-1)/indexedPages)
	}
	return bytes
}

// mountedSize is the memory that the volume in dir takes. A file that cannot be looked at counts for nothing: the next
// refresh puts that right, and no volume is worth keeping the plugin from starting.
func mountedSize(dir string, state State) int64 {
	bytes := Cost + state.cost()
	files := filepath.Join(dir, FilesDir)
	_ = filepath.WalkDir(files, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // see above
		}
		// The links are counted with their files and directories: there is one for each at most. The first two directories
		// every volume has.
		below, _ := filepath.Rel(files, path)
		_, inside, _ := strings.Cut(below, "/")
		switch {
		case entry.IsDir() && inside != "":
			bytes += directoryCost(len(inside))
		case entry.Type().IsRegular():
			if info, err := entry.Info(); err == nil {
				bytes += fileCost(len(inside), info.Size())
			}
		}
		return nil
	})
	return bytes
}

// tmpfsOptions bound the tmpfs of a volume by the caps, for a refresh may bring more and larger files, and the kernel
// refuses to remount one with noswap: both generations of the files that exist during a swap, each file in pages of its
// own, a page for each link, and the state, which is twice there as well. It is a bound, not an allocation: what a
// volume may really take is reserved before each write.
func tmpfsOptions(selinuxContext string) mount.TmpfsOptions {
	page := int64(os.Getpagesize())
	const generations = 2
	return mount.TmpfsOptions{
		Size:    generations*(resolverv1.MaxContentBytes+2*resolverv1.MaxFiles*page+maxState) + 16*page,
		Inodes:  2*generations*resolverv1.MaxFiles + 16,
		Context: selinuxContext,
	}
}
