package volume

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/semaphore"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/mount"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// Store is the directory of all volumes: a tmpfs for each, with its state and its files, and the pods' mounts of those.
type Store struct {
	Dir        string
	Filesystem Filesystem
	Mounter    mount.Mounter
	Clock      clock.PassiveClock

	// rewriting bounds the generations of files that exist beside the ones that are reserved, while they are written.
	rewriting *semaphore.Weighted
}

// NewStore returns the store in dir.
func NewStore(dir string, filesystem Filesystem, mounter mount.Mounter, clock clock.PassiveClock) *Store {
	return &Store{
		Dir: dir, Filesystem: filesystem, Mounter: mounter, Clock: clock, rewriting: semaphore.NewWeighted(MaxCost),
	}
}

// Path is the directory of the volume, mounted or not.
func (s *Store) Path(volumeID string) string { return filepath.Join(s.Dir, directoryName(volumeID)) }

// Paths returns the directories that there are, of volumes and of what is left of some.
func (s *Store) Paths() ([]string, error) {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return nil, err
	}
	paths := make([]string, 0, len(entries))
	for _, entry := range entries {
		paths = append(paths, filepath.Join(s.Dir, entry.Name()))
	}
	return paths, nil
}

// Create makes the tmpfs of the volume in dir. The state comes first: whoever finds this volume incomplete must know
// where else to look, and which leases to revoke. It is the one that the whole volume has, and the last step is the
// pod's mount: without that the volume is none, whatever the state says.
func (s *Store) Create(dir, selinuxContext string, state State) error {
	if err := s.Filesystem.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := s.Mounter.Tmpfs(dir, tmpfsOptions(selinuxContext)); err != nil {
		return err
	}
	if err := s.WriteState(dir, state); err != nil {
		return err
	}
	for _, name := range []string{FilesDir, stagingDir} {
		if err := s.Filesystem.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// WriteState replaces the state of the volume in dir in one step.
func (s *Store) WriteState(dir string, state State) error {
	return writeState(s.Filesystem, dir, state)
}

// ReadKept gives files that are to stay as they are the content that the volume in dir has, and checks the limits with
// it. Their names were validated.
func (s *Store) ReadKept(dir string, files []*resolverv1.File) error {
	kept := false
	for _, file := range files {
		if !file.GetKept() {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, FilesDir, DataLink, file.GetPath()))
		if err != nil {
			return fault.Transient(v1alpha1.ReasonInternal, "the resolver had the file %q kept, which cannot be read", file.GetPath())
		}
		file.Content, kept = content, true
	}
	if !kept {
		return nil
	}
	return ValidateFiles(files)
}

// NewDataDir returns a name for the directory in which WriteFiles puts files.
func (s *Store) NewDataDir() string { return newDataDir(s.Clock.Now()) }

// WriteFiles makes the volume in dir hold exactly files, in one step, and returns the DataDir of its state: next, or
// the one that it has if nothing differs. While it does so, the volume takes twice its memory: there is room for the
// largest one, or for several that take as much.
func (s *Store) WriteFiles(dir, next string, ids Ownership, files []*resolverv1.File) (string, error) {
	bytes := min(SizeOf(files, State{}), MaxCost)
	if err := s.rewriting.Acquire(context.Background(), bytes); err != nil {
		return "", err
	}
	defer s.rewriting.Release(bytes)
	writer := atomicWriter{dir: filepath.Join(dir, FilesDir), filesystem: s.Filesystem, ids: ids}
	return writer.write(files, next)
}

// MountForPod mounts the files of the volume in dir at target.
func (s *Store) MountForPod(dir, target string) error {
	// The kubelet makes the parent, the driver the target itself. A missing parent means that the pod is gone.
	if err := s.Filesystem.Mkdir(target, 0o750); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fault.Waiting(v1alpha1.ReasonInvalidSpec,
				"the target path %s has no parent directory: the pod is gone", target)
		}
		return fault.In(err, "making the target path")
	}
	if err := s.Mounter.BindReadOnly(filepath.Join(dir, FilesDir), filepath.Join(dir, stagingDir), target); err != nil {
		return fault.In(err, "mounting the volume")
	}
	return nil
}

// MountAgain mounts a complete volume whose mount at target somebody took away, if need be.
func (s *Store) MountAgain(dir, target string) error {
	if s.MountedForPod(dir, target) {
		return nil
	}
	if err := mount.UnmountAll(s.Mounter, target); err != nil {
		return fault.In(err, "clearing the target path")
	}
	return s.MountForPod(dir, target)
}

// MountedForPod tells whether target shows the files of the volume in dir.
func (s *Store) MountedForPod(dir, target string) bool {
	files, err := os.Stat(filepath.Join(dir, FilesDir))
	if err != nil {
		return false
	}
	mounted, err := os.Stat(target)
	return err == nil && os.SameFile(files, mounted)
}

// Inspect tells whether the volume in dir is complete and mounted for its pod.
func (s *Store) Inspect(dir string) (state State, whole bool, err error) {
	mounted, err := s.Mounter.Mounted(dir)
	if err != nil || !mounted {
		return State{}, false, err
	}
	state, err = ReadState(dir)
	if err != nil {
		return State{}, false, err
	}
	whole = state.Complete && s.Path(state.VolumeID) == dir && s.MountedForPod(dir, state.TargetPath)
	return state, whole, nil
}

// Remove removes whatever there is of a volume: the pod's mount, the target path, the tmpfs and its directory. It
// begins with what the pod sees, so that a half-done removal is recognised as one. Either path may be empty.
func (s *Store) Remove(dir, target string) error {
	if target != "" {
		if err := s.RemoveMountPoint(target); err != nil {
			return err
		}
	}
	if dir == "" {
		return nil
	}
	// A process that was killed while it mounted for the pod left this one, where that takes two steps.
	if err := mount.UnmountAll(s.Mounter, filepath.Join(dir, stagingDir)); err != nil {
		return err
	}
	return s.RemoveMountPoint(dir)
}

// RemoveMountPoint never removes more than an empty directory: what is still mounted there, or was never ours, stays.
func (s *Store) RemoveMountPoint(path string) error {
	if err := mount.UnmountAll(s.Mounter, path); err != nil {
		return err
	}
	return s.Filesystem.Remove(path)
}
