package mount

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkBindReadOnly compares both ways to mount for a pod, without what takes the mount away again.
func BenchmarkBindReadOnly(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("only root may mount")
	}
	for _, way := range []struct {
		name   string
		stages bool
	}{{"detached", false}, {"staged", true}} {
		b.Run(way.name, func(b *testing.B) {
			must := func(err error) {
				b.Helper()
				if err != nil {
					b.Fatal(err)
				}
			}
			runtime.LockOSThread() // for good: the thread ends with this function, and its mount namespace with it
			must(unix.Unshare(unix.CLONE_NEWNS))
			must(unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""))
			base := b.TempDir()
			must(unix.Mount("tmpfs", base, "tmpfs", 0, ""))
			defer func() { _ = unix.Unmount(base, unix.MNT_DETACH) }()
			must(unix.Mount("", base, "", unix.MS_SHARED, "")) // as the kubelet's directory is
			paths := map[string]string{}
			for _, name := range []string{"source", "staging", "target"} {
				paths[name] = filepath.Join(base, name)
				must(os.Mkdir(paths[name], 0o700))
			}
			m := &kernelMounter{}
			m.stages.Store(way.stages)
			for b.Loop() {
				must(m.BindReadOnly(paths["source"], paths["staging"], paths["target"]))
				b.StopTimer()
				must(m.Unmount(paths["target"], false))
				b.StartTimer()
			}
		})
	}
}
