package env

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const ownMounts = "SALLYPORT_TEST_OWN_MOUNTS"

// HasOwnMounts tells whether this process runs in the mount namespace that RunWithOwnMounts made.
func HasOwnMounts() bool { return os.Getenv(ownMounts) != "" }

// RunWithOwnMounts runs the test program again in a mount namespace of its own, in which every mount is private:
// nothing of it gets out, and all of it is gone when the program ends. Who is not root gets a user namespace, too,
// which the kernel may refuse.
func RunWithOwnMounts(ctx context.Context) error {
	inner := exec.CommandContext(ctx, os.Args[0], os.Args[1:]...)
	inner.Env = append(os.Environ(), ownMounts+"=1")
	inner.Stdout, inner.Stderr = os.Stdout, os.Stderr
	inner.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		inner.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		inner.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		inner.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: gid, Size: 1}}
	}
	return inner.Run()
}

// KubeletDir makes a directory that stands in for the kubelet's: mounts in it are shared, because the driver refuses to
// work where pods would not see its mounts. Its path is short, as a Unix socket's must be. The returned function fails
// if something is still mounted in it.
func KubeletDir() (string, func() error, error) {
	dir, err := os.MkdirTemp("", "kubelet")
	if err != nil {
		return "", nil, err
	}
	err = errors.Join(unix.Mount("tmpfs", dir, "tmpfs", 0, ""), unix.Mount("", dir, "", unix.MS_SHARED, ""), os.Mkdir(filepath.Join(dir, "pods"), 0o750))
	if err != nil {
		return "", nil, err
	}
	return dir, func() error {
		if err := unix.Unmount(dir, 0); err != nil {
			return err
		}
		return os.Remove(dir)
	}, nil
}
