package fault

import (
	"slices"

	"google.golang.org/grpc/codes"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// entry is what is known of a reason.
type entry struct {
	// code is the gRPC code between resolver, node plugin and kubelet; zero for Internal. For Unavailable and
	// ResourceExhausted the kubelet assumes that something may be left of the volume, and unpublishes it when the pod
	// goes away without ever having been started.
	code codes.Code
	// classes that faults with this reason can be of; none if no fault has it, but a condition or event only.
	classes []Class
	// refusal: it is Vault's definite response to a request, which asking once more does not change.
	refusal bool
	// arriving: what is missing may be on its way, applied or written at the same moment by whoever made the object. A
	// waiting fault with any other reason passes only if somebody cures it.
	arriving bool
	// conclusive: it says what became of an effect, or that this cannot be found out. Nothing is left to wait for.
	conclusive bool
	// terminal is which of its faults are terminal, and edit which edit cures those; empty if none is. Whatever somebody
	// can cure without an edit of the object, or without another run of a VaultTask, is not.
	terminal, edit string
	// meaning, cure and retry are its row in docs/reference/reasons.md. A test compares them.
	meaning, cure, retry string
}

// reasons is the one table of reasons. A Reason constant of the API package that is missing here fails a test, as does
// a fault that is made of a class that its reason cannot have.
var reasons = map[string]entry{
	// Vault
	v1alpha1.ReasonVaultUnreachable: {
		code:    codes.Unavailable,
		classes: []Class{ClassTransient, ClassWaiting},
		meaning: "no answer: connection refused, time-out, unknown host, or an answer that is not Vault's (a proxy's page, a redirect), or `spec.proxy` does not lead there. \"Not sent\": nothing at all is answered, not even `sys/health`, and one request every 5 seconds finds out whether that is still so",
		cure:    "check `spec.url` and `spec.proxy` of the VaultConfig, network and network policies between controller and Vault",
		retry:   "by itself; for a redirect or a server that speaks https, when the address is right",
	},
	v1alpha1.ReasonTLSFailed: {
		code:    codes.Unavailable,
		classes: []Class{ClassWaiting},
		meaning: "the TLS handshake failed: wrong authority, wrong name, expired certificate, no TLS on that port, a client certificate that is wanted or not accepted",
		cure:    "put the right authority into `caCertificate`, or where `caCertificateFrom` points; use a name that the certificate holds, or `tls.serverName`; give `tls.clientCertificateSecretRef` a certificate that the server accepts",
		retry:   "when changed",
	},
	v1alpha1.ReasonVaultSealed: {
		code:    codes.Unavailable,
		classes: []Class{ClassTransient},
		meaning: "Vault is sealed or not initialized",
		cure:    "unseal it",
		retry:   "by itself",
	},
	v1alpha1.ReasonVaultError: {
		code:    codes.Unavailable,
		classes: []Class{ClassTransient},
		meaning: "Vault answered with an error of its own (5xx), or the node that answered cannot serve the request now (412, 472, 473)",
		cure:    "look into Vault's log",
		retry:   "by itself",
	},
	v1alpha1.ReasonRateLimited: {
		code:    codes.Unavailable,
		classes: []Class{ClassTransient},
		meaning: "a quota in Vault is used up (429), more is asked of Vault than the VaultConfig's `limits` or `--vault-requests-per-second` allow, or what is under way for a namespace takes all the memory that it may in a replica",
		cure:    "raise the quota or the limits, longer `refreshInterval`s; for memory, smaller Connections or fewer pods and VaultTasks at a time",
		retry:   "by itself",
	},
	v1alpha1.ReasonAuthFailed: {
		code:    codes.FailedPrecondition,
		classes: []Class{ClassWaiting},
		meaning: "Vault does not accept the token (unknown, expired or revoked) or the login (role, mount, audience, password, secret ID, certificate; a wrapping token that was used, by the controller before it restarted or by somebody who should not, or has expired; a locked user)",
		cure:    "as the sentence says: in the Secret, in the spec or in Vault",
		retry:   "when Secret or spec change; else within 5 minutes, or 20 where Vault counts refused logins: see [vaultconfig.md](vaultconfig.md#when-vault-refuses-a-login)",
	},
	v1alpha1.ReasonPermissionDenied: {
		code:    codes.PermissionDenied,
		classes: []Class{ClassWaiting},
		refusal: true,
		meaning: "the token is good, its policies do not allow the request; the sentence names capability and path",
		cure:    "extend the policy, or correct the path",
		retry:   "when changed",
	},
	v1alpha1.ReasonSecretNotFound: {
		code:     codes.NotFound,
		classes:  []Class{ClassWaiting, ClassTerminal},
		terminal: "a VaultTask finds nothing to patch, delete or destroy",
		edit:     "`secretPath` or `versions`, or another run once it is there",
		arriving: true,
		refusal:  true,
		meaning:  "nothing at the path, no such version, the version is deleted or destroyed, or no engine is mounted there",
		cure:     "correct `enginePath`, `secretPath`, `version`; or write the secret",
		retry:    "when changed",
	},
	v1alpha1.ReasonInvalidRequest: {
		code:     codes.FailedPrecondition,
		classes:  []Class{ClassWaiting, ClassTerminal},
		terminal: "a VaultTask wants of KV version 1 what only version 2 has; leases of a volume that is gone were sealed with a key that is gone",
		edit:     "the VaultTask; nothing for the leases, which run out",
		refusal:  true,
		meaning:  "Vault rejects the request (400), the engine is Vault's own or not of the kind that the request needs, or a secret that is made for each reader is wanted where no volume would keep it",
		cure:     "correct `enginePath`, `secretPath`, `kvVersion`, `method` or `parameters`",
		retry:    "when changed",
	},

	v1alpha1.ReasonUseLimited: {
		code:    codes.FailedPrecondition,
		classes: []Class{ClassWaiting},
		refusal: true,
		meaning: "the token was made for a number of uses (`num_uses`) and dies when they are used up, so that no dynamic secret is made with it; or the secret ID is good for few further logins",
		cure:    "`token_num_uses=0` in the role, a token without `-use-limit`; a secret ID with more uses",
		retry:   "when changed",
	},

	// References and files
	v1alpha1.ReasonInvalidExpression: {
		code:     codes.FailedPrecondition,
		classes:  []Class{ClassTerminal},
		terminal: "all",
		edit:     "the Connection's `value`, or the template",
		meaning:  "a `vault.secret(…)` or `vault.text(…)` cannot be parsed, or names a secret that is not attached; the sentence has the place in `value` and the column",
		cure:     "correct the expression",
		retry:    "edit",
	},
	v1alpha1.ReasonKeyMissing: {
		code:     codes.FailedPrecondition,
		classes:  []Class{ClassWaiting},
		arriving: true,
		meaning:  "the secret has no such key, or what the key holds has no such field",
		cure:     "correct the key, write it to Vault, or give the reference a default",
		retry:    "when changed",
	},
	v1alpha1.ReasonNotStructured: {
		code:    codes.FailedPrecondition,
		classes: []Class{ClassWaiting},
		meaning: "fields of a reference (`vault.secret(name.key.field)`) lead into a number, a truth value, or text that is not a JSON object or list; or into a list without a number",
		cure:    "refer to all of it, correct the fields, or keep an object or a list in Vault",
		retry:   "when changed",
	},
	v1alpha1.ReasonAmbiguousKey: {
		code:    codes.FailedPrecondition,
		classes: []Class{ClassWaiting},
		meaning: "more than one attached secret has the key, or two that are spread; the sentence lists the candidates",
		cure:    "say which: `vault.secret(name.key)`; for secrets that are spread `prefix` or `keys`, or the key in `value`",
		retry:   "when changed",
	},
	v1alpha1.ReasonInvalidFileName: {
		code:     codes.FailedPrecondition,
		classes:  []Class{ClassWaiting, ClassTerminal},
		terminal: "a key that stands in the Connection, or a path",
		edit:     "the Connection's `value` or `files`",
		meaning:  "a top-level key of `value`, of its own or from a secret that is spread, or a path of `files`, cannot be the name of a file",
		cure:     "rename it; move the key into an object, or name `files`; for a secret that is spread list `keys`, or set `prefix`",
		retry:    "edit; when changed for a secret that is spread",
	},
	v1alpha1.ReasonInvalidTemplate: {
		code:     codes.FailedPrecondition,
		classes:  []Class{ClassWaiting, ClassTerminal},
		terminal: "the template cannot be parsed, or fails whatever Vault holds",
		edit:     "the template",
		meaning:  "a template of `files` or `parameters` cannot be parsed, misses a key, or does too much work; the sentence has the line; or the pod lacks a label of `podLabels`",
		cure:     "correct the template, or what Vault holds",
		retry:    "edit; when changed if it was parsed",
	},
	v1alpha1.ReasonNotRepresentable: {
		code:     codes.FailedPrecondition,
		classes:  []Class{ClassWaiting, ClassTerminal},
		terminal: "a key or a literal value of the Connection cannot be held by the format, or what a template makes cannot be the JSON of its `format`, whatever Vault holds",
		edit:     "the key, the value, the template or the format",
		meaning:  "the format of a file cannot hold a key or a value, a text is not in its `encoding`, what a template makes is not the JSON of its `format`, or a key store cannot be made of what its texts hold",
		cure:     "another format, another key, `toJson` in the template, or correct what Vault holds: the sentence says which text of a key store, and how",
		retry:    "when changed; edit for a key, or for what is wrong with any value",
	},
	v1alpha1.ReasonTooLarge: {
		code:     codes.ResourceExhausted,
		classes:  []Class{ClassWaiting, ClassTerminal},
		terminal: "more files or bytes than a volume holds whatever Vault holds, more volumes than a pod may have, a `value` or paths beyond their bounds; data or a result of a VaultTask",
		edit:     "the Connection, the pod or the VaultTask",
		meaning:  "more than 512 files or 1 MiB in a volume, more than 20 volumes of a pod, more than 4 MiB put in place by references, secrets that take more than 8 MiB of memory, a `value` that takes more than 3 MiB parsed, paths of more than 64 KiB together, 1 MiB of data of a VaultTask, more than 512 KiB of a sealed result",
		cure:     "smaller or fewer secrets, several Connections",
		retry:    "when changed; edit for the number of files",
	},
	v1alpha1.ReasonUnknownOverride: {
		code:     codes.InvalidArgument,
		classes:  []Class{ClassTerminal},
		terminal: "all",
		edit:     "the pod's attributes, or the Connection's `value`",
		meaning:  "a pod overrides (`value.KEY`) a key that `value` does not have",
		cure:     "correct the pod",
		retry:    "edit",
	},

	// Objects
	v1alpha1.ReasonInvalidSpec: {
		code:     codes.FailedPrecondition,
		classes:  []Class{ClassWaiting, ClassTerminal},
		terminal: "a field of the object itself",
		edit:     "the field that the sentence names",
		meaning:  "a field, or a volume attribute of a pod, is wrong; also a Secret or ConfigMap whose content is no token, secret ID, password or PEM certificate, and a VaultConfig with `workload: true` where there is no pod and no `serviceAccountName`, or the reverse",
		cure:     "as the sentence says",
		retry:    "edit; for the content, when changed",
	},
	v1alpha1.ReasonCredentialMissing: {
		code:     codes.FailedPrecondition,
		classes:  []Class{ClassWaiting},
		arriving: true,
		meaning:  "the Secret, ConfigMap or service account that a VaultConfig or VaultTask refers to, or its key, is missing or empty; Sallyport has no right to it in this namespace; or the kubelet sent no token of the pod for the audience",
		cure:     "create it; bind `sallyport-credentials` in the namespace ([security.md](../security.md#without-access-to-every-secret)); for the audience, add it to `spec.tokenRequests` of the CSIDriver",
		retry:    "when changed",
	},
	v1alpha1.ReasonConfigNotFound: {
		code:     codes.NotFound,
		classes:  []Class{ClassWaiting},
		arriving: true,
		meaning:  "the VaultConfig does not exist in this namespace",
		cure:     "create it, or correct the reference",
		retry:    "when changed",
	},
	v1alpha1.ReasonConfigDisabled: {
		code:    codes.FailedPrecondition,
		classes: []Class{ClassWaiting},
		meaning: "the VaultConfig has `enabled: false`",
		cure:    "its owner switches it on again",
		retry:   "when changed",
	},
	v1alpha1.ReasonConnectionNotFound: {
		code:     codes.NotFound,
		classes:  []Class{ClassWaiting},
		arriving: true,
		meaning:  "the Connection does not exist in the pod's namespace",
		cure:     "create it",
		retry:    "when changed",
	},
	v1alpha1.ReasonConnectionChanged: {
		code:    codes.FailedPrecondition,
		classes: []Class{ClassWaiting},
		meaning: "the Connection of a VaultTask's `connectionRef` was edited, or made anew, since the task first used it",
		cure:    "look at what it says now, then set the annotation `sallyport.dev/rerun`",
		retry:   "when run again",
	},
	v1alpha1.ReasonNamespaceNotAllowed: {
		code:     codes.PermissionDenied,
		classes:  []Class{ClassWaiting},
		arriving: true,
		meaning:  "the VaultConfig is in another namespace and does not let this one use it, or not for this path or operation; or it does not exist: which of the two is not told",
		cure:     "its owner extends `allowedNamespaces`, or create a VaultConfig in this namespace",
		retry:    "when changed",
	},
	v1alpha1.ReasonNotAllowed: {
		code:     codes.PermissionDenied,
		classes:  []Class{ClassWaiting, ClassTerminal},
		terminal: "leases of a volume that is gone belong to another node than the one that asks",
		edit:     "nothing: they run out",
		meaning:  "the pod's service account is not in `allowedServiceAccounts`; or the tokens of a request do not prove what they must",
		cure:     "add the service account; for tokens, see the log of the resolver",
		retry:    "when changed",
	},

	// Sallyport itself
	v1alpha1.ReasonNoResolver: {
		code:    codes.Unavailable,
		classes: []Class{ClassTransient},
		meaning: "the node found no replica of the controller that answers",
		cure:    "check the Deployment `sallyport-controller` and port 9443 between nodes' pods and it",
		retry:   "by itself",
	},
	v1alpha1.ReasonNodeFull: {
		code:    codes.ResourceExhausted,
		classes: []Class{ClassTransient},
		meaning: "the memory set aside for volumes on the node is used up, or by one namespace so far that the rest is left to others",
		cure:    "move pods, or raise the memory limit of the DaemonSet `sallyport-node`",
		retry:   "by itself, when pods leave",
	},
	v1alpha1.ReasonNodeBusy: {
		code:    codes.Unavailable,
		classes: []Class{ClassTransient},
		meaning: "as many volumes of the namespace as a node mounts at once (8) are waiting for an answer, and this one waited a minute for its turn",
		cure:    "look at the events of the other pods of the namespace: their Vault does not answer",
		retry:   "by itself",
	},
	v1alpha1.ReasonInternal: {
		classes:  []Class{ClassTransient, ClassWaiting, ClassTerminal},
		terminal: "an object without UID, or whose data cannot be written as JSON, which the API server lets nobody make",
		edit:     "the data that the sentence names",
		meaning:  "a failure of Sallyport or of the Kubernetes API; also two calls for one volume at a time",
		cure:     "usually passes; else as the sentence says, or see the logs",
		retry:    "by itself",
	},
	v1alpha1.ReasonProgressing: {
		code:    codes.FailedPrecondition,
		classes: []Class{ClassTransient},
		meaning: "a VaultTask's operation is under way",
		cure:    "wait",
	},
	v1alpha1.ReasonSucceeded: {
		meaning: "nothing is wrong",
	},

	// Of workloads with restart-on-change
	v1alpha1.ReasonRestarted: {
		meaning: "the pods are rolled, because a Connection that they mount changed",
	},
	v1alpha1.ReasonRestartPending: {
		meaning: "the same, but later: when, or after what, stands in the sentence",
	},
	v1alpha1.ReasonNoVersions: {
		meaning: "a secret has no versions, so that its changes do not roll the pods",
	},

	// Of the condition Renewing
	v1alpha1.ReasonRenewed: {
		meaning: "the token is renewed before it expires, or replaced by a new login",
	},
	v1alpha1.ReasonNeverExpires: {
		meaning: "the token has no expiry",
	},
	v1alpha1.ReasonLookupDenied: {
		meaning: "the token may not look itself up, so when it dies is not known, and it is not renewed: see [vaultconfig.md](vaultconfig.md#a-token-in-a-secret)",
	},
	v1alpha1.ReasonMaxTTLReached: {
		meaning: "the max TTL allows no further renewal; the sentence says when the token dies. Put a new token into the Secret before that",
	},
	v1alpha1.ReasonNotRenewable: {
		meaning: "Vault made the token not renewable (a batch token, for example)",
	},
	v1alpha1.ReasonRenewalDisabled: {
		meaning: "`autoRenew: false`",
	},
	v1alpha1.ReasonRenewalFailed: {
		meaning: "the last attempt failed; it is tried again",
	},

	// Of the condition CredentialLimited, which has UseLimited too
	v1alpha1.ReasonLifeLimited: {
		meaning: "the token cannot live longer than the sentence says, however often it is renewed: an explicit max TTL, or a batch token",
	},

	// Of the condition Authenticated
	v1alpha1.ReasonWorkloadIdentity: {
		classes: []Class{ClassWaiting},
		meaning: "pods log in with their own service accounts, so that the VaultConfig has no token of its own",
	},

	// Of VaultTasks
	v1alpha1.ReasonCASMismatch: {
		classes:    []Class{ClassTerminal},
		terminal:   "all",
		edit:       "`cas`, or another run",
		conclusive: true,
		meaning:    "the secret's version is another than expected: somebody else wrote it; nothing was written",
		cure:       "look at the secret; run the task again, or create one with the right `cas`",
	},
	v1alpha1.ReasonOutcomeUnknown: {
		classes:    []Class{ClassTerminal},
		terminal:   "all",
		edit:       "nothing: look, then run again",
		conclusive: true,
		meaning:    "Vault's answer was lost, and whether the effect happened cannot be told: a generic operation, a version that cannot be read, or data that may have been another at the earlier attempt",
		cure:       "look at what is in Vault, then run the task again",
	},
	v1alpha1.ReasonWrappingTokenInvalid: {
		classes:  []Class{ClassTerminal},
		terminal: "all",
		edit:     "another run with another wrapping token",
		meaning:  "the wrapping token of `unwrap` is unknown, expired or used already",
		cure:     "have a new one made; if you did not use it, find out who did",
	},
	v1alpha1.ReasonPathNotAllowed: {
		classes: []Class{ClassWaiting},
		meaning: "the VaultConfig lets no task act on this path of Vault's own, or hand out wrapped results",
		cure:    "its owner adds the path to `allowedSystemPaths`, or sets `allowWrappedResults`",
	},
	v1alpha1.ReasonSuspended: {
		classes: []Class{ClassWaiting},
		meaning: "the task has `suspend: true`",
		cure:    "remove it",
	},
	v1alpha1.ReasonScheduled: {
		meaning: "the task waits for the first time of its schedule",
	},
	v1alpha1.ReasonDeadlineExceeded: {
		classes:  []Class{ClassTerminal},
		terminal: "all",
		edit:     "another run, or `activeDeadlineSeconds`",
		meaning:  "the run took longer than `activeDeadlineSeconds`; the sentence says what it waited for last",
		cure:     "cure that, then run the task again",
	},
	v1alpha1.ReasonBackoffLimitExceeded: {
		classes:  []Class{ClassTerminal},
		terminal: "all",
		edit:     "another run, or `backoffLimit`",
		meaning:  "Vault failed more often than `backoffLimit` allows",
		cure:     "the same",
	},
}

// Code returns the gRPC code for a reason: that of the resolver's response to a node plugin, and of the node plugin's
// to the kubelet.
func Code(reason string) codes.Code {
	if code := reasons[reason].code; code != codes.OK {
		return code
	}
	return codes.Internal
}

// Allows tells whether a fault with this reason can be of this class.
func Allows(reason string, class Class) bool { return slices.Contains(reasons[reason].classes, class) }

// Refusal tells whether the fault is Vault's definite response to a request: what was asked for is not done, and asking
// once more does not change that.
func (f *Fault) Refusal() bool { return reasons[f.Reason].refusal }

// PassesByItself tells whether nobody has to do anything about the fault: it is transient, or what is missing may just
// not be there yet.
func (f *Fault) PassesByItself() bool {
	return f.Class == ClassTransient || f.Class == ClassWaiting && reasons[f.Reason].arriving
}

// Conclusive tells whether the fault says what became of an effect, or that this cannot be found out.
func (f *Fault) Conclusive() bool { return reasons[f.Reason].conclusive }

// Cure returns what the reference says cures a reason, in Markdown; empty if there is no such reason, or nothing to
// cure.
func Cure(reason string) string { return reasons[reason].cure }
