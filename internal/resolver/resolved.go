package resolver

import (
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/lease"
	"sallyport.dev/sallyport/internal/projection"
	"sallyport.dev/sallyport/internal/vault/auth"
)

// Volume is for whom a Connection is resolved.
type Volume struct {
	// Workload is the pod, as which some VaultConfigs log in.
	Workload *auth.Workload
	// Pod that mounts the volume.
	Pod Pod
	// Overrides of the pod.
	Overrides map[string]string
	// Revision of the files that the volume holds; empty if it holds none.
	Revision string
	// LeaseNames are the names of the dynamic secrets that the volume holds, by secret key.
	LeaseNames map[string]string
	// Files that hold dynamic secrets and may be kept, by path, with the digest that Resolved.Digests had of each.
	Files map[string]string
}

// Pod is what parameters of dynamic secrets may name of the pod that mounts a volume, as the API server has it.
type Pod struct {
	Namespace, Name, ServiceAccount string
	// Labels returns them as they are. It may ask the API server.
	Labels func() (map[string]string, error)
}

// A nil volume is one that has nothing: Check resolves without a pod.

func (v *Volume) overrides() map[string]string {
	if v == nil {
		return nil
	}
	return v.Overrides
}

func (v *Volume) workload() *auth.Workload {
	if v == nil {
		return nil
	}
	return v.Workload
}

func (v *Volume) pod() *Pod {
	if v == nil {
		return nil
	}
	return &v.Pod
}

func (v *Volume) leaseNames() map[string]string {
	if v == nil {
		return nil
	}
	return v.LeaseNames
}

func (v *Volume) files() map[string]string {
	if v == nil {
		return nil
	}
	return v.Files
}

// Resolved is what a Connection is at one moment.
type Resolved struct {
	// Revision names the content: it changes when the Connection, a VaultConfig or the version of a secret does.
	Revision string
	// Unchanged is true when the caller's revision is still current; Files and Secrets are empty then.
	Unchanged bool
	// Files of the volume.
	Files []projection.File
	// Digests of what went into the files that hold dynamic secrets, by path; nil if Unchanged. They are for the encrypted
	// state of the volume's leases alone.
	Digests map[string]string
	// Secrets that were read, in order of path.
	Secrets []v1alpha1.ObservedSecret
	// RefreshAfter is when to ask again.
	RefreshAfter time.Duration
	// Deferred are the VaultConfigs, in order of name, that only a pod can log in to. Without one, what they hold was
	// not read; all else was checked, and there are no Files.
	Deferred []string
	// Dynamic are the paths, in order, of dynamic secrets. Without a volume none was issued, and there are no Files.
	Dynamic []string
	// Absent are the paths, in order, of secrets that are not there, where the files can be made without; for a Check
	// only.
	Absent []string
	// Issued are the dynamic secrets that Vault issued for the volume. They are the caller's to revoke if they do not
	// reach it.
	Issued []lease.DynamicSecret
	// SecretKeys of all dynamic secrets of the volume, also if Unchanged.
	SecretKeys []string
	// Versions of the secrets by path, also if Unchanged; only those that have versions.
	Versions map[string]int64
	// ChangeKeys of the secrets, also if Unchanged; only for a volume.
	ChangeKeys []string

	// FromMemory tells of secrets that were not read now, for Vault could not be reached; the zero value if all were.
	FromMemory FromMemory

	// namespace of the Connection, and base of the revision: the Connection as it is, with the volume's overrides.
	namespace, base string
}

// FromMemory tells of secrets that a volume got although Vault could not be reached.
type FromMemory struct {
	// Read is when the oldest of them was read.
	Read time.Time
	// Fault says why none was read now; nil if all were.
	Fault *fault.Fault
}

func (m *FromMemory) add(read time.Time, why *fault.Fault) {
	if m.Fault == nil || read.Before(m.Read) {
		m.Read, m.Fault = read, why
	}
}
