package heap

// What a controller replica's memory is divided into. Each is the most of its kind at one moment, in bytes; who names a
// share lets one namespace have no more than that. Base and Budget hold for the limit that config/controller ships, of
// which the Go runtime may use nine tenths.
const (
	// Limit is that of the container, and Percent how much of it the Go runtime may use: the rest is for what it does not
	// count, such as the kernel's buffers of connections.
	Limit   = 256 << 20
	Percent = 90

	// Base is the program itself, and what informers keep of a thousand objects of the usual size.
	Base = 40 << 20

	// Decoding is for large responses of Vault while they are read and decoded.
	Decoding, DecodingShare = 48 << 20, 16 << 20
	// Kept is for values of secrets that requests have until they end.
	Kept, KeptShare = 48 << 20, 12 << 20
	// Work is for requests as such: Connections that are parsed, files that are made.
	Work, WorkShare = 48 << 20, 12 << 20
	// Fetching is for objects that informers keep abridged, while they are read from the API server.
	Fetching, FetchingShare = 12 << 20, 6 << 20

	// Burst is for what a burst of volumes shares, for two seconds.
	Burst = 12 << 20
	// Specs is for what was read lately of abridged Connections.
	Specs, SpecsShare = 12 << 20, 4 << 20
	// Versions is for what is known of secrets, and Engines of secrets engines.
	Versions, VersionsShare = 8 << 20, 2 << 20
	Engines, EnginesShare   = 2 << 20, 512 << 10
)
