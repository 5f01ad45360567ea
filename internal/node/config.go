package node

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/node/mount"
	"sallyport.dev/sallyport/internal/node/revocation"
	"sallyport.dev/sallyport/internal/node/volume"
)

const (
	// DefaultKubeletDir is where the kubelet keeps its files on most distributions.
	DefaultKubeletDir = "/var/lib/kubelet"
	// DefaultMemoryBudget bounds the files of all volumes of the node together.
	DefaultMemoryBudget = 64 << 20

	defaultResolveTimeout = 55 * time.Second

	// maxSocketPath is the size of sockaddr_un's path with its terminating zero.
	maxSocketPath = 107
)

// MemoryBesideBudget is what else the plugin holds on a tmpfs: the files that replace others while they are written,
// and leases that wait to be revoked.
var MemoryBesideBudget = volume.MaxCost + revocation.SpoolSize

// FittingBudget is the budget, or less if a container with this memory limit has no room for it. Half of what the Go
// runtime may use is left to it: the answers under way, and leases that wait. At least a byte is left: 0 is the
// default.
func FittingBudget(wanted, limit int64) int64 {
	const volumesPercent = 45
	return max(min(wanted, limit/100*volumesPercent-MemoryBesideBudget), 1)
}

// Config is what a Driver needs. NodeName, Resolver and Registry are required.
type Config struct {
	// NodeName is the name of the Node object, and the driver's node ID.
	NodeName string
	// Version is reported as the driver's.
	Version string
	// Resolver is asked for the files of every volume, and to revoke its leases.
	Resolver Resolver
	// Changes is optional: without it volumes wait for their next refresh.
	Changes Changes
	// Registry gets the driver's metrics.
	Registry prometheus.Registerer

	// KubeletDir is the kubelet's root directory, by default DefaultKubeletDir. In the driver's container, PluginDir
	// and the pods directory in KubeletDir must be mounted at the same paths as on the host, with mountPropagation:
	// Bidirectional, or pods would not see what the driver mounts.
	KubeletDir string
	// PluginDir holds the CSI socket, the volumes, and the leases that wait to be revoked, by default
	// plugins/csi.sallyport.dev in KubeletDir. It must lie in KubeletDir.
	PluginDir string
	// RegistrationDir is where the kubelet looks for sockets of plugins, by default plugins_registry in KubeletDir.
	RegistrationDir string

	// MemoryBudget is the number of bytes that the files of all volumes may take together, counted in pages; 0 means
	// DefaultMemoryBudget. A refresh holds the old and the new files of a volume for a moment: leave room for that in
	// the container's memory limit.
	MemoryBudget int64
	// ResolveTimeout bounds one request to the resolver; 0 means 55 seconds. The kubelet gives up after two minutes.
	ResolveTimeout time.Duration
	// RefreshOffset delays each refresh. With one of its own, below a second, a node does not ask in the same moment as
	// all others whose volumes are due together.
	RefreshOffset time.Duration
	// Clock is the real one by default.
	Clock clock.WithTicker
	// Mounter mounts and unmounts; the kernel by default.
	Mounter mount.Mounter

	// Registered is called when the kubelet has accepted the driver, after each start of either. Optional.
	Registered func()

	// filesystem is the real one by default; tests count and break its operations.
	filesystem volume.Filesystem
}

// withDefaults returns the configuration with every optional field set, or says what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	switch {
	case c.NodeName == "":
		return c, errors.New("the node's name is missing")
	case c.Resolver == nil:
		return c, errors.New("the resolver is missing")
	case c.Registry == nil:
		return c, errors.New("the metrics registry is missing")
	case c.MemoryBudget < 0 || c.ResolveTimeout < 0:
		return c, errors.New("the memory budget and the time-out must not be negative")
	}
	setDefault(&c.KubeletDir, DefaultKubeletDir)
	setDefault(&c.PluginDir, filepath.Join(c.KubeletDir, "plugins", v1alpha1.DriverName))
	setDefault(&c.RegistrationDir, filepath.Join(c.KubeletDir, "plugins_registry"))
	setDefault(&c.MemoryBudget, DefaultMemoryBudget)
	setDefault(&c.ResolveTimeout, defaultResolveTimeout)
	setDefault(&c.Clock, clock.WithTicker(clock.RealClock{}))
	setDefault(&c.Mounter, mount.System())
	setDefault(&c.filesystem, volume.Filesystem(volume.OSFilesystem{}))
	for _, dir := range []*string{&c.KubeletDir, &c.PluginDir, &c.RegistrationDir} {
		if !filepath.IsAbs(*dir) {
			return c, fmt.Errorf("the path %s is not absolute", *dir)
		}
		*dir = filepath.Clean(*dir)
	}
	if !within(c.KubeletDir, c.PluginDir) || within(c.podsDir(), c.PluginDir) {
		return c, fmt.Errorf("the plugin's directory %s must lie in the kubelet's, %s, and not among the pods",
			c.PluginDir, c.KubeletDir)
	}
	for _, socket := range []string{c.socket(), c.registrationSocket()} {
		if len(socket) > maxSocketPath {
			return c, fmt.Errorf("the path %s is too long for a Unix socket (%d of %d bytes)",
				socket, len(socket), maxSocketPath)
		}
	}
	return c, nil
}

// socket is where the CSI services listen, the same path in the driver's container and on the host.
func (c Config) socket() string { return filepath.Join(c.PluginDir, "csi.sock") }

// registrationSocket is where the kubelet finds the driver.
func (c Config) registrationSocket() string {
	return filepath.Join(c.RegistrationDir, v1alpha1.DriverName+"-reg.sock")
}

// podsDir holds the target paths of all volumes.
func (c Config) podsDir() string { return filepath.Join(c.KubeletDir, "pods") }

// volumesDir holds one directory for each volume.
func (c Config) volumesDir() string { return filepath.Join(c.PluginDir, "volumes") }

// spoolDir holds the leases that wait to be revoked.
func (c Config) spoolDir() string { return filepath.Join(c.PluginDir, "releases") }

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// within tells whether path lies below dir. Both are clean and absolute.
func within(dir, path string) bool {
	relative, err := filepath.Rel(dir, path)
	return err == nil && relative != "." && filepath.IsLocal(relative)
}
