package volume

import (
	"os"
	"path/filepath"

	"sallyport.dev/sallyport/internal/node/mount"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// stateSize is what a volume takes besides its files.
var stateSize = InPages(1)

// SizeOf is the memory that a volume with these files and leases takes.
func SizeOf(files []*resolverv1.File, leases EncryptedLeases) int64 {
	bytes := stateSize + leases.Size()
	for _, file := range files {
		bytes += InPages(int64(len(file.GetContent())))
	}
	return bytes
}

// mountedSize is the memory that the volume in dir takes, without its leases. A file that cannot be looked at counts
// for nothing: the next refresh puts that right, and no volume is worth keeping the plugin from starting.
func mountedSize(dir string) int64 {
	bytes := stateSize
	entries, _ := os.ReadDir(filepath.Join(dir, FilesDir, DataLink))
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			bytes += InPages(info.Size())
		}
	}
	return bytes
}

// tmpfsOptions bound the tmpfs of one volume by the caps: both generations of the files that exist during a swap, each
// file in pages of its own, a page for each link whose target is long, and some for the state with its leases, twice as
// well. It is a bound, not an allocation; leases that do not fit are revoked at once.
func tmpfsOptions(selinuxContext string) mount.TmpfsOptions {
	page := int64(os.Getpagesize())
	const generations, stateLimit = 2, 256 << 10
	return mount.TmpfsOptions{
		Size:    generations*(resolverv1.MaxContentBytes+2*resolverv1.MaxFiles*page+stateLimit) + 16*page,
		Inodes:  2*generations*resolverv1.MaxFiles + 16,
		Context: selinuxContext,
	}
}
