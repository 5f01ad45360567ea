package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// releasesBytes bounds the tmpfs of the releases that wait, one page at least for each. Memory holds twice as much at most.
const releasesBytes = 8 << 20

// release is what is to be given back of one volume that is gone. It holds no token: only the plugin's own goes with it.
type release struct {
	// Pod is for logs.
	Pod    podIdentity `json:"pod"`
	Leases leases      `json:"leases"`

	// stored means that there is a file of it.
	stored bool
}

func (r release) bytes() int64 { return inPages(leaseBytes(r.Leases) + 1) }

// releases are what waits to be given back, each in a file of its own on a tmpfs of the plugin's, which outlives its process and no
// restart of the machine: what is lost then runs out.
type releases struct {
	dir  string
	disk disk

	mu      sync.Mutex
	entries map[string]release
	bytes   int64
	closed  bool
}

func newReleases(dir string, disk disk) *releases {
	return &releases{dir: dir, disk: disk, entries: map[string]release{}}
}

// load reads what an earlier process left, and returns the names. A file that cannot be read was being written when that process was
// killed: what it was to hold is still beside its volume. It is removed, and its path is among broken.
func (r *releases) load() (names, broken []string, err error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, entry := range entries {
		path := filepath.Join(r.dir, entry.Name())
		found := release{stored: true}
		content, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(content, &found)
		}
		if err != nil {
			broken = append(broken, path)
			_ = r.disk.Remove(path)
			continue
		}
		r.entries[entry.Name()] = found
		r.bytes += found.bytes()
		names = append(names, entry.Name())
	}
	return names, broken, nil
}

// add takes what is to be released, once, and returns its name. With an error and a name it is held in memory only; without a name
// there is no room, and it is lost.
func (r *releases) add(wanted release) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, known := range r.entries {
		if bytes.Equal(known.Leases, wanted.Leases) {
			return name, r.store(name)
		}
	}
	if r.bytes+wanted.bytes() > 2*releasesBytes {
		return "", fault.Transient(v1alpha1.ReasonNodeFull, "the leases of %d volumes wait to be given back, and there is no room for more", len(r.entries))
	}
	name := fmt.Sprintf("%016x", rand.Uint64())
	wanted.stored = false
	r.entries[name] = wanted
	r.bytes += wanted.bytes()
	return name, r.store(name)
}

// store writes the file of one that has none yet. The caller holds the lock.
func (r *releases) store(name string) error {
	entry := r.entries[name]
	if entry.stored {
		return nil
	}
	if r.closed {
		return errors.New("the plugin stops")
	}
	content, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	path := filepath.Join(r.dir, name)
	if err := r.disk.WriteFile(path, content, 0o600); err != nil {
		// A half of one, if there is any, is of no use.
		return errors.Join(err, r.disk.Remove(path))
	}
	entry.stored = true
	r.entries[name] = entry
	return nil
}

// get returns one, and tries again to store it if need be.
func (r *releases) get(name string) (release, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.entries[name]; ok {
		// That it could not be was reported.
		_ = r.store(name)
	}
	entry, ok := r.entries[name]
	return entry, ok
}

// remove forgets one that is done with. A file that is left leads to one more release, at the next start.
func (r *releases) remove(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes -= r.entries[name].bytes()
	delete(r.entries, name)
	return r.disk.Remove(filepath.Join(r.dir, name))
}

func (r *releases) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.entries)
}

// close stores nothing any more, and has unmount take the tmpfs away if it is empty.
func (r *releases) close(unmount func(dir string) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if len(r.entries) > 0 {
		return nil
	}
	return unmount(r.dir)
}

// mountReleases mounts the tmpfs for the releases, if the last process did not leave it.
func (d *Driver) mountReleases() error {
	dir := d.config.releasesDir()
	mounted, err := d.config.Mounter.Mounted(dir)
	if err != nil || mounted {
		return err
	}
	return d.config.Mounter.Tmpfs(dir, TmpfsOptions{Size: releasesBytes, Inodes: releasesBytes / int64(os.Getpagesize()), Private: true})
}
