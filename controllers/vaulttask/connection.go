package vaulttask

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
)

// connectionType is the type of a Connection that says how to reach a Vault.
const connectionType = "VAULT"

// byConnection takes url, credentials and paths from a Connection. What it resolves stays in memory, and only for this
// attempt.
func (a *access) byConnection(ctx context.Context, to *target) error {
	name := client.ObjectKey{Namespace: a.task.Namespace, Name: a.task.Spec.ConnectionRef.Name}
	connection := &v1alpha1.Connection{}
	if err := a.client.Get(ctx, name, connection); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return fault.Waiting(v1alpha1.ReasonConnectionNotFound, "Connection %s does not exist", name)
		}
		return fault.Transient(v1alpha1.ReasonInternal, "Connection %s cannot be read from the Kubernetes API: %v", name, err)
	}
	switch {
	case connection.Spec.Type != connectionType:
		return fault.Waiting(v1alpha1.ReasonInvalidSpec,
			"Connection %s is of type %q", name, connection.Spec.Type).WithRemedy("refer to one of type %s", connectionType)
	case slices.ContainsFunc(connection.Spec.VaultSecrets, isSpread):
		return fault.Waiting(v1alpha1.ReasonInvalidSpec, "Connection %s spreads a secret, whose values could show in the status of VaultTasks", name).
			WithRemedy("write references at the keys that are wanted")
	case len(connection.Spec.AllowedServiceAccounts) > 0:
		return fault.Waiting(v1alpha1.ReasonNotAllowed,
			"Connection %s is for the pods of its allowedServiceAccounts only", name).
			WithRemedy("use a Connection that every pod of the namespace may have")
	}
	if err := refersInCredentialsOnly(connection, name); err != nil {
		return err
	}
	if err := sameConnection(a.task, connection); err != nil {
		return err
	}
	values, err := a.engine.Values(ctx, connection)
	if err != nil {
		return err
	}
	texts := connectionTexts(values)
	if texts.of("url") == "" {
		return fault.Waiting(v1alpha1.ReasonInvalidSpec, "Connection %s: value has no text at the key %q, which a Connection of type %s needs",
			name, "url", connectionType).WithRemedy("add it")
	}
	login, credentials, err := auth.FromConnection(name, texts.of)
	if err != nil {
		return err
	}
	fill(&to.location.EnginePath, texts.of("enginePath"))
	fill(&to.location.SecretPath, texts.of("secretPath"))
	if a.task.Spec.Operation.Generic() {
		fill(&to.path, texts.of("path"))
	}
	to.session, to.close, err = a.sessions.Ephemeral(ctx, &v1alpha1.VaultConfig{
		TypeMeta:   metav1.TypeMeta{Kind: fault.KindConnection},
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, UID: connection.UID},
		Spec: v1alpha1.VaultConfigSpec{
			URL: texts.of("url"), VaultNamespace: texts.of("vaultNamespace"), CACertificate: texts.of("caCertificate"),
			Auth: login,
		},
	}, credentials)
	to.connection, to.own = stateOf(connection), true
	return err
}

func isSpread(secret v1alpha1.VaultSecret) bool { return ptr.Deref(secret.Spread, false) }

// sameConnection refuses a Connection that is another than the one that the task used before: whoever may write
// Connections would choose where the data of somebody else's task goes, and as whom. To set the annotation is what
// admission asks for the rights to. One that never could be used may be corrected.
func sameConnection(task *v1alpha1.VaultTask, connection *v1alpha1.Connection) error {
	seen := task.Status.Connection
	switch {
	case seen == nil || *seen == *stateOf(connection):
		return nil
	case task.Status.Claim != nil:
		return unknown("Connection %s was changed after an earlier attempt had begun", connection.Name)
	}
	return fault.Waiting(v1alpha1.ReasonConnectionChanged, "Connection %s/%s was changed since this task first used it",
		connection.Namespace, connection.Name).
		WithRemedy("look at what it says now, then set the annotation %s to run the task with it", v1alpha1.AnnotationRerun)
}

func stateOf(connection *v1alpha1.Connection) *v1alpha1.TaskConnection {
	return &v1alpha1.TaskConnection{UID: string(connection.UID), Generation: connection.Generation}
}

// noteConnection records the Connection of a task that does not run yet, so that it is the one that its author knew.
func (r *Reconciler) noteConnection(ctx context.Context, task *v1alpha1.VaultTask) {
	if task.Spec.ConnectionRef == nil || task.Status.Connection != nil {
		return
	}
	connection := &v1alpha1.Connection{}
	name := client.ObjectKey{Namespace: task.Namespace, Name: task.Spec.ConnectionRef.Name}
	if r.client.Get(ctx, name, connection) == nil { // else it is recorded when it is used
		task.Status.Connection = stateOf(connection)
	}
}

// mayRefer returns the keys whose values no status and no sentence shows.
func mayRefer() []string { return append(auth.ConnectionCredentials(), "caCertificate") }

// refersInCredentialsOnly refuses references where what they become would show: in the task's status, or in a sentence
// that names an address.
func refersInCredentialsOnly(connection *v1alpha1.Connection, name client.ObjectKey) error {
	value, err := expression.ParseValue(connection.Spec.Value)
	if err != nil {
		return fault.In(err, "Connection %s", name)
	}
	for _, placed := range value.References() {
		if key := placed.Place; slices.Contains(shownKeys(), key) {
			return fault.Waiting(v1alpha1.ReasonInvalidSpec, "Connection %s: value has a reference at the key %q, whose text shows in the status of VaultTasks",
				name, key).WithRemedy("write it literally. References may stand at %s", strings.Join(mayRefer(), ", "))
		}
	}
	return nil
}

// shownKeys returns the keys whose values a status or a sentence may show.
func shownKeys() []string {
	return append([]string{"url", "vaultNamespace", "enginePath", "secretPath", "path"}, auth.ConnectionSettings()...)
}

// connectionTexts are the values of a Connection that are text. Any of them may be secret: no sentence quotes one.
type connectionTexts map[string]any

func (t connectionTexts) of(key string) string {
	value := t[key]
	text, isText := value.(string)
	if !isText && value != nil && slices.Contains(auth.ConnectionFlags(), key) {
		return fmt.Sprint(value)
	}
	return text
}

func fill(field *string, value string) {
	if *field == "" {
		*field = value
	}
}
