package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountFlags hold for every mount of the driver: nothing in it is a program, a device or a way to the rights of another
// user.
const mountFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// kernelMounter uses system calls: the image holds no mount(8).
type kernelMounter struct{}

// System returns the mounter of this machine's kernel.
func System() Mounter { return kernelMounter{} }

// Tmpfs asks for noswap first. Kernels before 6.4 do not know it and refuse; then it goes without, and the node's swap,
// if it has one, may hold what is in the volume.
func (kernelMounter) Tmpfs(path string, options TmpfsOptions) error {
	mode := "0755"
	if options.Private {
		mode = "0700"
	}
	data := fmt.Sprintf("mode=%s,size=%d,nr_inodes=%d", mode, options.Size, options.Inodes)
	if options.Context != "" {
		data += fmt.Sprintf(",context=%q", options.Context)
	}
	err := unix.Mount("tmpfs", path, "tmpfs", mountFlags, data+",noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("tmpfs", path, "tmpfs", mountFlags, data)
	}
	return pathError("mount tmpfs", path, err)
}

// BindReadOnly never shows a writable mount at target, not even for a moment or in another mount namespace. A bind
// mount becomes read-only only in a second call, and that second call reaches no other namespace: the host, and so the
// pod, would keep the writable one. So it is made read-only at staging, where no pod looks, and target is a copy of
// that: a copy carries its flags wherever it propagates to. (mount_setattr(2) does the same without staging, from Linux
// 5.12.)
func (m kernelMounter) BindReadOnly(source, staging, target string) (err error) {
	if err := unix.Mount(source, staging, "", unix.MS_BIND, ""); err != nil {
		return pathError("bind", staging, err)
	}
	defer func() { err = errors.Join(err, m.Unmount(staging, false)) }()
	if err := unix.Mount("", staging, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|mountFlags, ""); err != nil {
		return pathError("remount read-only", staging, err)
	}
	return pathError("bind", target, unix.Mount(staging, target, "", unix.MS_BIND, ""))
}

func (kernelMounter) Unmount(path string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(path, flags)
	// EINVAL: not a mount point.
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return pathError("unmount", path, err)
}

func (kernelMounter) Mounted(path string) (bool, error) {
	mounted, err := mountinfo.Mounted(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return mounted, err
}

// Shared looks at the mount that path lies on: the longest mount point that is path or one of its parents, and of
// several at the same point the one mounted last.
func (kernelMounter) Shared(path string) (bool, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false, err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	if err != nil {
		return false, err
	}
	var on *mountinfo.Info
	for _, mount := range mounts {
		if on == nil || len(mount.Mountpoint) >= len(on.Mountpoint) {
			on = mount
		}
	}
	return on != nil && strings.Contains(on.Optional, "shared:"), nil
}

func pathError(operation, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: operation, Path: path, Err: err}
}
