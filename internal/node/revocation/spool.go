package revocation

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
	"sallyport.dev/sallyport/internal/node/mount"
	"sallyport.dev/sallyport/internal/node/volume"
)

// SpoolSize bounds the tmpfs of the spool, one page at least for each entry. Memory holds twice as much at most.
const SpoolSize = 8 << 20

// entry is what is to be revoked of one volume that is gone.
type entry struct {
	// Pod is for logs.
	Pod    volume.Pod             `json:"pod"`
	Leases volume.EncryptedLeases `json:"leases"`

	// stored means that there is a file of it, and failed that it was asked for in vain.
	stored, failed bool
	memory         *volume.Reservation
}

func (e entry) size() int64 { return volume.InPages(e.Leases.Size() + 1) }

// Spool keeps the leases that wait to be revoked, each volume's in a file of its own on a tmpfs of the plugin's, which
// outlives its process and no restart of the machine: what is lost then runs out.
type Spool struct {
	dir        string
	filesystem volume.Filesystem

	mu      sync.Mutex
	entries map[string]entry
	closed  bool
	// budget is for all entries, by namespaces.
	budget *volume.MemoryBudget
}

// NewSpool returns the spool in the existing directory dir. It touches no file.
func NewSpool(dir string, filesystem volume.Filesystem) *Spool {
	return &Spool{
		dir: dir, filesystem: filesystem, entries: map[string]entry{}, budget: volume.NewMemoryBudget(2 * SpoolSize),
	}
}

// Mount mounts the spool's tmpfs, if the last process did not leave it.
func (s *Spool) Mount(mounter mount.Mounter) error {
	mounted, err := mounter.Mounted(s.dir)
	if err != nil || mounted {
		return err
	}
	return mounter.Tmpfs(s.dir, mount.TmpfsOptions{
		Size: SpoolSize, Inodes: SpoolSize / int64(os.Getpagesize()), Private: true,
	})
}

// Len returns the number of volumes whose leases wait.
func (s *Spool) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// Close stores nothing any more, and has unmount take the tmpfs away if it is empty.
func (s *Spool) Close(unmount func(dir string) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if len(s.entries) > 0 {
		return nil
	}
	return unmount(s.dir)
}

// load reads what an earlier process left, and returns the names. A file that cannot be read was being written when
// that process was killed: what it was to hold is still beside its volume. It is removed, and its path is among broken.
func (s *Spool) load() (names, broken []string, err error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, file := range files {
		path := filepath.Join(s.dir, file.Name())
		found := entry{stored: true}
		content, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(content, &found)
		}
		if err != nil {
			broken = append(broken, path)
			_ = s.filesystem.Remove(path)
			continue
		}
		found.memory = s.budget.Take(found.Pod, found.size())
		s.entries[file.Name()] = found
		names = append(names, file.Name())
	}
	return names, broken, nil
}

// add takes leases, once, and returns the name of their entry. With an error and a name they are held in memory only;
// without a name there is no room, and they are lost.
func (s *Spool) add(wanted entry) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, known := range s.entries {
		if bytes.Equal(known.Leases, wanted.Leases) {
			return name, s.store(name)
		}
	}
	memory, err := s.budget.Reserve(wanted.Pod, wanted.size())
	if err != nil {
		return "", fault.Transient(v1alpha1.ReasonNodeFull,
			"the leases of %d volumes wait to be given back, and there is no room for more of namespace %s",
			len(s.entries), wanted.Pod.Namespace)
	}
	name := fmt.Sprintf("%016x", rand.Uint64())
	wanted.stored, wanted.memory = false, memory
	s.entries[name] = wanted
	return name, s.store(name)
}

// store writes the file of an entry that has none yet. The caller holds the lock.
func (s *Spool) store(name string) error {
	e := s.entries[name]
	if e.stored {
		return nil
	}
	if s.closed {
		return errors.New("the plugin stops")
	}
	content, err := json.Marshal(e)
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, name)
	if err := s.filesystem.WriteFile(path, content, 0o600); err != nil {
		// A half of one, if there is any, is of no use.
		return errors.Join(err, s.filesystem.Remove(path))
	}
	e.stored = true
	s.entries[name] = e
	return nil
}

// get returns an entry, and tries again to store it if need be.
func (s *Spool) get(name string) (entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.entries[name]; ok {
		// That it could not be was reported.
		_ = s.store(name)
	}
	e, ok := s.entries[name]
	return e, ok
}

// failed notes that an entry was asked for in vain.
func (s *Spool) failed(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.entries[name]; ok {
		e.failed = true
		s.entries[name] = e
	}
}

// remove forgets an entry that is done with. A file that is left leads to one more request, at the next start.
func (s *Spool) remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.entries[name]; ok {
		e.memory.Release()
	}
	delete(s.entries, name)
	return s.filesystem.Remove(filepath.Join(s.dir, name))
}
