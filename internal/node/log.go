package node

// What the driver logs: constant messages, with the particulars under these keys.
const (
	messageServing        = "Serving CSI"
	messageRegistered     = "Registered with the kubelet"
	messageNotRegistered  = "The kubelet refused the registration"
	messagePublished      = "Volume published"
	messageUnpublished    = "Volume unpublished"
	messageRefreshed      = "Volume refreshed"
	messageRefreshFailed  = "Volume not refreshed, its files stay as they are"
	messageAdopted        = "Volume adopted"
	messageOrphan         = "Clearing away an incomplete volume"
	messageInspectFailed  = "Volume not understood"
	messageCleanupFailed  = "Volume not cleared away"
	messageCallFailed     = "Call failed"
	messageStopping       = "Stopping"
	messageStopIncomplete = "Stopped with calls under way"

	keyMethod     = "method"
	keyVolume     = "volumeID"
	keyPod        = "pod"
	keyConnection = "connection"
	keyReason     = "reason"
	keySentence   = "sentence"
	keyRetryAfter = "retryAfter"
	keyPath       = "path"
	keySocket     = "socket"
)
