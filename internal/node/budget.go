package node

import (
	"os"
	"path/filepath"
	"sync"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// budget counts the bytes of all volumes. The kernel charges tmpfs pages to the process that writes them, so without a bound
// one pod with large secrets could get the plugin killed, and with it the refresh of every other pod's.
type budget struct {
	mu    sync.Mutex
	limit int64
	used  int64
}

// reserve takes bytes, or says that the node is full. A negative number gives bytes back and always succeeds.
func (b *budget) reserve(bytes int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bytes > 0 && b.used+bytes > b.limit {
		return fault.Transient(v1alpha1.ReasonNodeFull,
			"the volumes of this node use %d of the %d bytes of memory set aside for them, and this one needs %d more", b.used, b.limit, bytes)
	}
	b.used += bytes
	return nil
}

// charge takes bytes that are in use already, whatever the limit says.
func (b *budget) charge(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used += bytes
}

func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// stateBytes is what a volume takes besides its files.
var stateBytes = inPages(1)

// inPages rounds up to whole pages: a tmpfs gives out nothing smaller.
func inPages(bytes int64) int64 {
	page := int64(os.Getpagesize())
	return (bytes + page - 1) / page * page
}

// volumeBytes is what a volume with these files and leases takes.
func volumeBytes(files []*resolverv1.File, l leases) int64 {
	bytes := stateBytes + leaseBytes(l)
	for _, file := range files {
		bytes += inPages(int64(len(file.GetContent())))
	}
	return bytes
}

// mountedBytes is what the volume in dir takes, without its leases. A file that cannot be looked at counts for nothing: the next refresh puts
// that right, and no volume is worth keeping the plugin from starting.
func mountedBytes(dir string) int64 {
	bytes := stateBytes
	entries, _ := os.ReadDir(filepath.Join(dir, filesDir, dataLink))
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			bytes += inPages(info.Size())
		}
	}
	return bytes
}

// tmpfsOptions bound the tmpfs of one volume by the caps: both generations of the files that exist during a swap, each file
// in pages of its own, a page for each link whose target is long, and some for the state with its leases, twice as well. It is a bound, not an
// allocation; leases that do not fit are given back at once.
func tmpfsOptions(context string) TmpfsOptions {
	page := int64(os.Getpagesize())
	const generations, stateLimit = 2, 256 << 10
	return TmpfsOptions{
		Size:    generations*(resolverv1.MaxContentBytes+2*resolverv1.MaxFiles*page+stateLimit) + 16*page,
		Inodes:  2*generations*resolverv1.MaxFiles + 16,
		Context: context,
	}
}
