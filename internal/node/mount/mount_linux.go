package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountFlags hold for every mount of the driver: nothing in it is a program, a device or a way to the rights of another
// user.
const mountFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// kernelMounter uses system calls: the image holds no mount(8).
type kernelMounter struct {
	// stages means that there is no detached mount to be had: the kernel is older than 5.12, or refuses one of its calls.
	stages atomic.Bool
}

// System returns the mounter of this machine's kernel.
func System() Mounter { return &kernelMounter{} }

// Tmpfs asks for noswap first. Kernels before 6.4 do not know it and refuse; then it goes without, and the node's swap,
// if it has one, may hold what is in the volume.
//
// It is mount(2) for all of it: fsopen(2) and what belongs to it do the same work in the kernel and take as long.
func (*kernelMounter) Tmpfs(path string, options TmpfsOptions) error {
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

// BindReadOnly never shows a writable mount at target, not even for a moment or in another mount namespace: what is
// mounted there is read-only before. A copy of a mount carries its flags wherever it propagates to.
func (m *kernelMounter) BindReadOnly(source, staging, target string) error {
	if !m.stages.Load() {
		err := bindDetached(source, target)
		if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
			return err
		}
		m.stages.Store(true)
	}
	return m.bindStaged(source, staging, target)
}

// bindDetached makes the mount read-only while no directory shows it, and ends with the process if that is killed.
func bindDetached(source, target string) error {
	detached, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return pathError("open_tree", source, err)
	}
	defer func() { _ = unix.Close(detached) }() // ends a mount that was not moved
	attributes := unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
	}
	if err = unix.MountSetattr(detached, "", unix.AT_EMPTY_PATH, &attributes); err != nil {
		return pathError("mount_setattr", source, err)
	}
	err = unix.MoveMount(detached, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
	return pathError("move_mount", target, err)
}

// bindStaged makes the mount read-only at staging, where no pod looks, and mounts a copy of it at target: a bind
// mount becomes read-only only in a second call, and that second call reaches no other namespace, so that the host,
// and so the pod, would keep the writable one. Most of the time that it takes is the unmount's, which waits for all
// processors.
func (m *kernelMounter) bindStaged(source, staging, target string) (err error) {
	if err := unix.Mount(source, staging, "", unix.MS_BIND, ""); err != nil {
		return pathError("bind", staging, err)
	}
	defer func() { err = errors.Join(err, m.Unmount(staging, false)) }()
	if err := unix.Mount("", staging, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|mountFlags, ""); err != nil {
		return pathError("remount read-only", staging, err)
	}
	return pathError("bind", target, unix.Mount(staging, target, "", unix.MS_BIND, ""))
}

func (*kernelMounter) Unmount(path string, lazy bool) error {
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

// Mounted asks the kernel in one call. Those before 5.8 do not say; then the mount table is read. What is mounted
// where a link leads is not mounted at the link.
func (*kernelMounter) Mounted(path string) (bool, error) {
	var found unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &found)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err == nil && found.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0:
		return found.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	mounted, err := mountinfo.Mounted(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return mounted, err
}

// Shared looks at the mount that path lies on: the longest mount point that is path or one of its parents, and of
// several at the same point the one mounted last.
func (*kernelMounter) Shared(path string) (bool, error) {
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
