package node

// Mounter is what the driver needs of the kernel's mount table.
type Mounter interface {
	// Tmpfs mounts an empty tmpfs at the existing directory path.
	Tmpfs(path string, options TmpfsOptions) error
	// BindReadOnly makes the directory source visible at the existing directory target so that nobody can write through
	// target, in whatever mount namespace it shows up. The existing directory staging is used in between.
	BindReadOnly(source, staging, target string) error
	// Unmount takes the topmost mount off path. A path that does not exist or is no mount point is no error. With lazy, the
	// mount disappears from the tree now and ends when its last user lets go of it.
	Unmount(path string, lazy bool) error
	// Mounted tells whether path is a mount point; a path that does not exist is none.
	Mounted(path string) (bool, error)
	// Shared tells whether what is mounted below path shows up in the mount namespaces that share path's file system.
	Shared(path string) (bool, error)
}

// TmpfsOptions bound a tmpfs. It is always nosuid, nodev and noexec, and never swapped out where the kernel can promise that.
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
