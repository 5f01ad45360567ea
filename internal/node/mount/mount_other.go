//go:build !linux

package mount

import "errors"

var errNoMounts = errors.New("the node plugin runs on Linux only")

// noMounter lets the program build where the node plugin cannot run.
type noMounter struct{}

// System returns the mounter of this machine's kernel.
func System() Mounter { return noMounter{} }

func (noMounter) Tmpfs(string, TmpfsOptions) error          { return errNoMounts }
func (noMounter) BindReadOnly(string, string, string) error { return errNoMounts }
func (noMounter) Unmount(string, bool) error                { return errNoMounts }
func (noMounter) Mounted(string) (bool, error)              { return false, errNoMounts }
func (noMounter) Shared(string) (bool, error)               { return false, errNoMounts }
