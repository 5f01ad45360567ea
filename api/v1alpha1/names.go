package v1alpha1

// DriverName is the name of the CSI driver that mounts Connections into pods.
const DriverName = "csi.sallyport.dev"

// StartupTaint is the key of the taint with which whoever makes a Node keeps pods away until the driver is there. The
// node plugin takes it off, if it is told to.
const StartupTaint = DriverName + "/not-ready"

// Attributes of an inline CSI volume (spec.volumes[].csi.volumeAttributes) that the driver reads.
const (
	// AttributeConnection names the Connection in the pod's namespace to mount. Required.
	AttributeConnection = "connection"
	// AttributeValuePrefix, followed by an existing top-level key of the Connection's value, replaces that key's
	// value for this pod. The replacement is taken literally: it is not scanned for references.
	AttributeValuePrefix = "value."
)

// Audiences of the service account tokens that a node presents to the resolver. They are Sallyport's own: a token
// made for one of them opens neither the API server nor Vault.
const (
	// AudiencePod is the audience of the mounting pod's token, handed to the driver by the kubelet.
	AudiencePod = "sallyport.dev"
	// AudienceNode is the audience of the node plugin's own token.
	AudienceNode = "sallyport.dev/node"
)

// AnnotationRerun on a VaultTask runs it once more whenever its value changes. The value that a run answered to is
// recorded in status.
const AnnotationRerun = "sallyport.dev/rerun"

// AnnotationRefresh on a Connection or VaultConfig has it looked at now, whenever its value changes.
const AnnotationRefresh = "sallyport.dev/refresh"

// Annotations with which a Deployment, StatefulSet, DaemonSet or Rollout follows the Connections that its pods mount.
const (
	// AnnotationRestartOnChange, with the value "true", has the workload rolled whenever such a Connection changes. With
	// any other value it is not rolled, whatever its namespace says.
	AnnotationRestartOnChange = "sallyport.dev/restart-on-change"
	// AnnotationRestartMinInterval is the least time between two restarts of the workload, such as 10m.
	AnnotationRestartMinInterval = "sallyport.dev/restart-min-interval"
	// AnnotationRestartedAt on the workload is written by the controller: when it last rolled the pods.
	AnnotationRestartedAt = "sallyport.dev/restarted-at"
	// AnnotationSeen on the workload is written by the controller: for each Connection a digest of its generation and
	// of the versions of its secrets, for which the pods were last rolled. No value goes into it.
	AnnotationSeen = "sallyport.dev/seen"
	// AnnotationRestartedFor in the pod template is written by the controller to roll the pods, not of a Rollout, which
	// has spec.restartAt for that. It has the value of AnnotationSeen.
	AnnotationRestartedFor = "sallyport.dev/restarted-for"
)

// AnnotationEnv on a pod has Connections mounted into it as variables of its programs: db,SMTP_=mail. An admission
// policy does that, so a pod template has the annotation, and only its pods have the volumes.
const AnnotationEnv = "sallyport.dev/env"

// Labels of a Namespace, for all its workloads.
const (
	// LabelRestartOnChange, with the value "true", is AnnotationRestartOnChange for those that do not have it themselves.
	LabelRestartOnChange = AnnotationRestartOnChange
	// LabelRestartMaxUnavailable is how many of them are rolled at a time for their Connections, such as 2.
	LabelRestartMaxUnavailable = "sallyport.dev/restart-max-unavailable"
)

// Condition types. Ready is on every kind, unless it is Suspended; Reconciling and Stalled follow kstatus and are
// present only while true.
const (
	// ConditionReady says whether the object can be used now. It is derived from the other conditions.
	ConditionReady = "Ready"
	// ConditionReconciling is present, and True, while the controller works towards Ready and expects to get there:
	// what is wrong may pass by itself, or what is missing may be on its way.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present, and True, when only a person can make progress possible, in the object or elsewhere.
	ConditionStalled = "Stalled"
	// ConditionSuspended is present, and True, in place of Ready while the owner has switched the object off, as on a
	// Job.
	ConditionSuspended = "Suspended"

	// ConditionReachable on a VaultConfig says whether Vault answers, initialized and unsealed; Unknown where it was not
	// asked.
	ConditionReachable = "Reachable"
	// ConditionAuthenticated on a VaultConfig says whether Vault accepts the configured identity.
	ConditionAuthenticated = "Authenticated"
	// ConditionRenewing on a VaultConfig says whether the token's life can still be extended.
	ConditionRenewing = "Renewing"
	// ConditionCredentialLimited on a VaultConfig, present while True, says which limits the credential has that nobody
	// can renew.
	ConditionCredentialLimited = "CredentialLimited"

	// ConditionComplete on a VaultTask is True when the operation was done, as on a Job.
	ConditionComplete = "Complete"
	// ConditionFailed on a VaultTask is True when the operation was given up, as on a Job.
	ConditionFailed = "Failed"
)

// Reasons. The same reason appears in the condition, the event and the FailedMount event of a pod, and on the
// metrics. They are stable: scripts may match on them.
const (
	// ReasonSucceeded: nothing is wrong.
	ReasonSucceeded = "Succeeded"
	// ReasonProgressing: the controller has not finished its first attempt.
	ReasonProgressing = "Progressing"

	// ReasonVaultUnreachable: no answer came from Vault: connection refused, time-out, DNS, or an answer that is not
	// Vault's.
	ReasonVaultUnreachable = "VaultUnreachable"
	// ReasonVaultSealed: Vault is sealed or not initialized.
	ReasonVaultSealed = "VaultSealed"
	// ReasonVaultError: Vault answered with an error of its own (5xx).
	ReasonVaultError = "VaultError"
	// ReasonRateLimited: Vault refused because of a quota (429), more is asked of it than spec.limits allow, or what is
	// under way for a namespace, or for all, takes all the memory that it may. It passes.
	ReasonRateLimited = "RateLimited"
	// ReasonTLSFailed: the TLS handshake failed, most often because the CA certificate is the wrong one.
	ReasonTLSFailed = "TLSFailed"
	// ReasonAuthFailed: Vault does not accept the token or the login.
	ReasonAuthFailed = "AuthFailed"
	// ReasonPermissionDenied: the identity is good, but its policies do not allow the request.
	ReasonPermissionDenied = "PermissionDenied"
	// ReasonSecretNotFound: there is nothing at the path in Vault, or the version is deleted or destroyed.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonKeyMissing: the secret has no such key, or what a key holds no such field.
	ReasonKeyMissing = "KeyMissing"
	// ReasonNotStructured: fields of a reference lead into what is no object, list, or text that holds one as JSON.
	ReasonNotStructured = "NotStructured"
	// ReasonAmbiguousKey: more than one attached secret has the key.
	ReasonAmbiguousKey = "AmbiguousKey"
	// ReasonInvalidExpression: a vault.secret(...) or vault.text(...) cannot be parsed or refers to nothing.
	ReasonInvalidExpression = "InvalidExpression"
	// ReasonInvalidRequest: Vault rejected the request as malformed (400), or the engine is of another type.
	ReasonInvalidRequest = "InvalidRequest"
	// ReasonInvalidSpec: a field of the object is wrong.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonInvalidFileName: a key of value, or the path of a file, cannot be the name of a file.
	ReasonInvalidFileName = "InvalidFileName"
	// ReasonInvalidTemplate: the template of a file cannot be parsed, or cannot be executed with the value as it is.
	ReasonInvalidTemplate = "InvalidTemplate"
	// ReasonNotRepresentable: the format of a file cannot hold a key or a value, or a text is not in its encoding or
	// format.
	ReasonNotRepresentable = "NotRepresentable"
	// ReasonTooLarge: more than one object may have or take: files and bytes of a volume, volumes of a pod, what
	// references put in place, values of secrets, a value that is parsed, data and results of a VaultTask.
	ReasonTooLarge = "TooLarge"
	// ReasonUnknownOverride: a pod overrides a key that the Connection's value does not have.
	ReasonUnknownOverride = "UnknownOverride"
	// ReasonCredentialMissing: the Secret or ConfigMap (or its key) that a VaultConfig refers to does not exist, is
	// empty, or may not be read by Sallyport.
	ReasonCredentialMissing = "CredentialMissing"
	// ReasonConfigDisabled: the VaultConfig has enabled: false.
	ReasonConfigDisabled = "ConfigDisabled"
	// ReasonConfigNotFound: the VaultConfig does not exist.
	ReasonConfigNotFound = "ConfigNotFound"
	// ReasonConnectionNotFound: the Connection does not exist in the pod's namespace.
	ReasonConnectionNotFound = "ConnectionNotFound"
	// ReasonConnectionChanged: the Connection that a VaultTask uses is not the one any more that it used before.
	ReasonConnectionChanged = "ConnectionChanged"
	// ReasonNamespaceNotAllowed: the VaultConfig may not be used from this namespace.
	ReasonNamespaceNotAllowed = "NamespaceNotAllowed"
	// ReasonNotAllowed: the caller may not have the Connection.
	ReasonNotAllowed = "NotAllowed"
	// ReasonNoResolver: the node found no resolver that answers.
	ReasonNoResolver = "NoResolver"
	// ReasonNodeFull: the volumes of the node already use the memory set aside for them.
	ReasonNodeFull = "NodeFull"
	// ReasonNodeBusy: the node mounts as many volumes of the namespace as it does at once.
	ReasonNodeBusy = "NodeBusy"
	// ReasonRestarted: a workload was rolled, because a Connection that its pods mount changed.
	ReasonRestarted = "Restarted"
	// ReasonRestartPending: a workload will be rolled, because a Connection that its pods mount changed, but not yet.
	ReasonRestartPending = "RestartPending"
	// ReasonNoVersions: a secret has no versions, so that a change of it does not roll workloads.
	ReasonNoVersions = "NoVersions"
	// ReasonInternal: a failure of Sallyport or of the Kubernetes API.
	ReasonInternal = "Internal"

	// ReasonRenewed: the token was renewed, or will be.
	ReasonRenewed = "Renewed"
	// ReasonRenewalDisabled: autoRenew is false.
	ReasonRenewalDisabled = "RenewalDisabled"
	// ReasonNotRenewable: the token cannot be renewed, as Vault made it.
	ReasonNotRenewable = "NotRenewable"
	// ReasonMaxTTLReached: the token's max TTL allows no further renewal.
	ReasonMaxTTLReached = "MaxTTLReached"
	// ReasonNeverExpires: the token has no expiry, so nothing needs to be renewed.
	ReasonNeverExpires = "NeverExpires"
	// ReasonUseLimited: the token was made for a number of uses.
	ReasonUseLimited = "UseLimited"
	// ReasonLifeLimited: the token cannot live longer than it says, however often it is renewed.
	ReasonLifeLimited = "LifeLimited"
	// ReasonWorkloadIdentity: pods log in with their own service accounts, so the VaultConfig has no token of its own.
	ReasonWorkloadIdentity = "WorkloadIdentity"
	// ReasonLookupDenied: the token may not look itself up, so when it dies is not known, and it is not renewed.
	ReasonLookupDenied = "LookupDenied"
	// ReasonRenewalFailed: the last attempt to renew the token failed; it is tried again.
	ReasonRenewalFailed = "RenewalFailed"

	// ReasonCASMismatch: somebody else wrote the secret between the task's claim and its call.
	ReasonCASMismatch = "CASMismatch"
	// ReasonOutcomeUnknown: Vault's answer was lost, and whether the effect happened cannot be told.
	ReasonOutcomeUnknown = "OutcomeUnknown"
	// ReasonWrappingTokenInvalid: a response-wrapping token is unknown, expired or used already.
	ReasonWrappingTokenInvalid = "WrappingTokenInvalid"
	// ReasonSuspended: the VaultTask has suspend: true.
	ReasonSuspended = "Suspended"
	// ReasonScheduled: the VaultTask waits for the next time of its schedule.
	ReasonScheduled = "Scheduled"
	// ReasonBackoffLimitExceeded: the VaultTask was tried as often as backoffLimit allows.
	ReasonBackoffLimitExceeded = "BackoffLimitExceeded"
	// ReasonDeadlineExceeded: the VaultTask took longer than activeDeadlineSeconds allows.
	ReasonDeadlineExceeded = "DeadlineExceeded"
	// ReasonPathNotAllowed: the VaultConfig does not allow tasks on this path, or with this kind of result.
	ReasonPathNotAllowed = "PathNotAllowed"
)
