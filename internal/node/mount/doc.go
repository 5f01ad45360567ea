// Package mount changes the kernel's mount table: a tmpfs for each volume, a read-only bind mount of it for the pod.
//
// It knows paths and options only. It must not know what a volume is, write a file, or decide when to mount.
package mount
