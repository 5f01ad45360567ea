package mount

import (
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	unmountTries = 5
	unmountPause = 20 * time.Millisecond
	// maxStacked bounds the mounts on top of each other that are taken off one path.
	maxStacked = 64
)

// Mounter is what the driver needs of the kernel's mount table. k8s.io/mount-utils does not do: it runs mount(8), which
// the image lacks, and its read-only bind mount is writable for a moment (see BindReadOnly).
type Mounter interface {
	// Tmpfs mounts an empty tmpfs at the existing directory path.
	Tmpfs(path string, options TmpfsOptions) error
	// BindReadOnly makes the directory source visible at the existing directory target so that nobody can write through
	// target, in whatever mount namespace it shows up. Where the kernel cannot do that in one step, the existing
	// directory staging is used in between.
	BindReadOnly(source, staging, target string) error
	// Unmount takes the topmost mount off path. A path that does not exist or is no mount point is no error. With lazy,
	// the mount disappears from the tree now and ends when its last user lets go of it.
	Unmount(path string, lazy bool) error
	// Mounted tells whether path is a mount point; a path that does not exist is none.
	Mounted(path string) (bool, error)
	// Shared tells whether what is mounted below path shows up in the mount namespaces that share path's file system.
	Shared(path string) (bool, error)
}

// TmpfsOptions bound a tmpfs. It is always nosuid, nodev and noexec, and never swapped out where the kernel can promise
// that.
type TmpfsOptions struct {
	// Size is the number of bytes that it can hold.
	Size int64
	// Inodes is the number of files, directories and links that it can hold.
	Inodes int64
	// Private is mode 0700 instead of 0755.
	Private bool
	// Context is the SELinux label of everything in it, without quotes; empty for none.
	Context string
}

// UnmountAll takes every mount off path.
func UnmountAll(mounter Mounter, path string) error {
	for range maxStacked {
		mounted, err := mounter.Mounted(path)
		if err != nil || !mounted {
			return err
		}
		if err := unmount(mounter, path); err != nil {
			return err
		}
	}
	return nil
}

func unmount(mounter Mounter, path string) error {
	retries := wait.Backoff{Duration: unmountPause, Steps: unmountTries}
	busy := wait.ExponentialBackoff(retries, func() (bool, error) { return mounter.Unmount(path, false) == nil, nil })
	if busy == nil {
		return nil
	}
	// The last resort: somebody holds a file open on the host. A pod that cannot be deleted because of that would be
	// worse than a mount that is gone from the tree now and from memory when that file is closed.
	return mounter.Unmount(path, true)
}
