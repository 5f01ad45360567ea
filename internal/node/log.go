package node

// What the CSI services log. The particulars stand under the keys of package logkeys.
const (
	messageServing        = "Serving CSI"
	messageRegistered     = "Registered with the kubelet"
	messageNotRegistered  = "The kubelet refused the registration"
	messagePublished      = "Volume published"
	messageUnpublished    = "Volume unpublished"
	messageRecovered      = "Volume adopted"
	messageOrphan         = "Clearing away an incomplete volume"
	messageInspectFailed  = "Volume not understood"
	messageCleanupFailed  = "Volume not cleared away"
	messageCallFailed     = "Call failed"
	messageStopping       = "Stopping"
	messageStopIncomplete = "Stopped with calls under way"
)
