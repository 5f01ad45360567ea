package resolverv1

// What node and resolver agree on besides the messages.
const (
	// ConfigMapName is the ConfigMap, in Sallyport's own namespace, in which the replicas of the resolver publish
	// themselves. Each replica owns one key, its pod's name. The value is a PEM bundle: the self-signed certificate
	// that the replica serves now, and around a renewal the next one. The replica's IP address is the IP SAN of the
	// first certificate.
	ConfigMapName = "sallyport-resolvers"

	// Port is the TCP port on which every replica serves the resolver.
	Port = 9443

	// AuthorizationKey is the gRPC metadata key that carries the node plugin's own token, as "Bearer TOKEN".
	AuthorizationKey = "authorization"

	// ErrorDomain is the domain of the google.rpc.ErrorInfo detail; its reason is one of the API package's reasons.
	ErrorDomain = "sallyport.dev"

	// MaxContentBytes is the cap on the content of all files of one volume together: 1 MiB, as for a Secret.
	MaxContentBytes = 1 << 20

	// MaxFiles is the cap on the number of files of one volume. A tmpfs page is charged for even the smallest file.
	MaxFiles = 512

	// MaxRequestBytes is the cap on a node's message: two tokens, a pod's volume attributes, and the leases of the volume.
	MaxRequestBytes = 512 << 10

	// MaxRound is the cap on the requests of one call of ResolveEach, several times the volumes of a node.
	MaxRound = 1000

	// MaxTogetherBytes is the cap on an answer of ResolveEach that does not come alone: half of a stream's window, which
	// the node holds for each call in any case. Hardly any Connection has larger files.
	MaxTogetherBytes = 32 << 10

	// MaxMessageBytes is the cap on a gRPC message: the content and the paths of one volume's files with room to spare.
	MaxMessageBytes = 4 << 20
)
