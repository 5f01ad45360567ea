package heap

import (
	"math"
	"runtime/debug"
)

// What a controller replica's memory is divided into: each is the most of its kind at one moment, in bytes, and a share
// is the most of one namespace. Together they are what the Go runtime may use of the memory limit that
// config/controller ships.
const (
	// Base is for the program itself, and for what informers keep of a thousand objects.
	Base = 26 << 20

	// Decoding is for responses of Vault while they are read and decoded.
	Decoding = 48 << 20
	// DecodingShare is the most of one namespace.
	DecodingShare = 16 << 20
	// Kept is for values of secrets that requests have until they end.
	Kept = 40 << 20
	// KeptShare is the most of one namespace.
	KeptShare = 10 << 20
	// Work is for Connections that requests have parsed, and for their small responses.
	Work = 40 << 20
	// WorkShare is the most of one namespace.
	WorkShare = 10 << 20
	// Making is for files while they are made.
	Making = 12 << 20
	// MakingShare is the most of one namespace.
	MakingShare = 6 << 20
	// Tasks is for what VaultTasks write, and hand out of what they read.
	Tasks = 12 << 20
	// TasksShare is the most of one namespace.
	TasksShare = 6 << 20
	// Reading is for Secrets and ConfigMaps that VaultTasks take it from, while they are read.
	Reading = 8 << 20
	// ReadingShare is the most of one namespace.
	ReadingShare = 4 << 20
	// Fetching is for objects that informers keep abridged, while they are read from the API server.
	Fetching = 8 << 20
	// FetchingShare is the most of one namespace.
	FetchingShare = 4 << 20

	// Burst is for what a burst of volumes shares, for two seconds.
	Burst = 6 << 20
	// Outage is for what pods may start with while Vault cannot be reached, where a VaultConfig wants that.
	Outage = 4 << 20
	// OutageShare is the most of one namespace.
	OutageShare = 1 << 20
	// Specs is for what was read lately of objects that informers keep abridged.
	Specs = 10 << 20
	// SpecsShare is the most of one namespace.
	SpecsShare = 4 << 20
	// Tracked is for which versions volumes hold, which Connections' status tells.
	Tracked = 6 << 20
	// TrackedShare is the most of one namespace.
	TrackedShare = 3 << 19
	// Versions is for what is known of secrets.
	Versions = 8 << 20
	// VersionsShare is the most of one namespace.
	VersionsShare = 2 << 20
	// Engines is for what is known of secrets engines.
	Engines = 2 << 20
	// EnginesShare is the most of one namespace.
	EnginesShare = 512 << 10
	// SecretIDs is for those that wrapping tokens in Connections gave.
	SecretIDs = 384 << 10
	// SecretIDsShare is the most of one namespace.
	SecretIDsShare = 48 << 10
)

// ShippedLimit is limits.memory of config/controller, for which all of these are.
const ShippedLimit = 256 << 20

// Growing returns a bound, and a share, for what is remembered of each of many objects. In a larger container than the
// shipped one an eighth of what the Go runtime may use besides is added, and that is divided as before. So who has more
// objects gives the replicas more memory. It is to be asked for when the runtime knows its limit.
func Growing(all, share int64) (grown, grownShare int64) {
	limit := debug.SetMemoryLimit(-1) // negative: it is only asked
	if limit == math.MaxInt64 {
		return all, share
	}
	more := max(0, limit-ShippedLimit/100*Percent) / 8
	return all + more, share + more*share/all
}

// Percent is how much of a container's memory the Go runtime may use: the rest is for what it does not count, such as
// the kernel's buffers of connections.
const Percent = 90
