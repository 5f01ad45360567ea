package vaulttask

import (
	"context"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
)

// connectionType is the type of a Connection that says how to reach a Vault.
const connectionType = "VAULT"

// byConnection takes url, credentials and paths from a Connection. What it resolves stays in memory, and only for this attempt.
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
			"Connection %s is of type %q; refer to one of type %s", name, connection.Spec.Type, connectionType)
	case len(connection.Spec.AllowedServiceAccounts) > 0:
		return fault.Waiting(v1alpha1.ReasonNotAllowed,
			"Connection %s is for the pods of its allowedServiceAccounts only; use a Connection that every pod of the namespace may have", name)
	}
	if err := refersInCredentialsOnly(connection, name); err != nil {
		return err
	}
	values, err := a.engine.Values(ctx, connection)
	if err != nil {
		return err
	}
	texts := connectionTexts{name, values}
	if texts.of("url") == "" {
		return texts.problem("has no text at the key %q, which a Connection of type %s needs; add it", "url", connectionType)
	}
	auth, credentials, err := texts.auth()
	if err != nil {
		return err
	}
	fill(&to.location.EnginePath, texts.of("enginePath"))
	fill(&to.location.SecretPath, texts.of("secretPath"))
	if a.task.Spec.Operation.Generic() {
		fill(&to.path, texts.of("path"))
	}
	to.session, to.close, err = a.sessions.Ephemeral(ctx, &v1alpha1.VaultConfig{
		TypeMeta:   metav1.TypeMeta{Kind: "Connection"},
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, UID: connection.UID},
		Spec: v1alpha1.VaultConfigSpec{
			URL: texts.of("url"), VaultNamespace: texts.of("vaultNamespace"), CACertificate: texts.of("caCertificate"), Auth: auth,
		},
	}, credentials)
	if err != nil {
		return ofConnection(err, name)
	}
	return nil
}

// mayRefer are the keys whose values no status and no sentence shows.
var mayRefer = []string{"token", "username", "password", "roleID", "secretID", "caCertificate"}

// refersInCredentialsOnly refuses references where what they become would show: in the task's status, or in a sentence that names an address.
func refersInCredentialsOnly(connection *v1alpha1.Connection, name client.ObjectKey) error {
	value, err := expression.ParseValue(connection.Spec.Value)
	if err != nil {
		return fault.In(err, "Connection %s", name)
	}
	for _, placed := range value.References() {
		if key := placed.Place; slices.Contains(shown, key) {
			return fault.Waiting(v1alpha1.ReasonInvalidSpec, "Connection %s: value has a reference at the key %q, whose text shows in the status of VaultTasks; "+
				"write it literally. References may stand at %s", name, key, strings.Join(mayRefer, ", "))
		}
	}
	return nil
}

// shown are the keys whose values a status or a sentence may show.
var shown = []string{"url", "vaultNamespace", "enginePath", "secretPath", "path", "authMount", "authMethod"}

// connectionTexts are the values of a Connection that are text. Any of them may be secret: no sentence quotes one.
type connectionTexts struct {
	name   client.ObjectKey
	values map[string]any
}

func (t connectionTexts) of(key string) string {
	text, _ := t.values[key].(string)
	return text
}

func (t connectionTexts) problem(format string, args ...any) error {
	return fault.Waiting(v1alpha1.ReasonInvalidSpec, "Connection %s: value "+format, append([]any{t.name}, args...)...)
}

// kinds of credentials, by the keys that make them up.
var kinds = [][]string{{"token"}, {"username", "password"}, {"roleID", "secretID"}}

// auth is how to log in with the credentials of a Connection, and the secret ones by the key that it refers to.
func (t connectionTexts) auth() (auth v1alpha1.VaultAuth, credentials map[string]string, err error) {
	const cure = "give exactly one of token, of username with password, and of roleID with secretID"
	given := func(key string) bool { return t.of(key) != "" }
	var found [][]string
	for _, keys := range kinds {
		if slices.ContainsFunc(keys, given) {
			found = append(found, keys)
		}
	}
	switch {
	case len(found) == 0:
		return auth, nil, t.problem("has no credentials, which a Connection of type %s needs; %s", connectionType, cure)
	case len(found) > 1:
		return auth, nil, t.problem("has credentials of more than one kind (%s); %s",
			strings.Join(slices.DeleteFunc(slices.Concat(found...), func(key string) bool { return !given(key) }), ", "), cure)
	}
	for _, key := range found[0] {
		if !given(key) {
			return auth, nil, t.problem("has no text at the key %q, which belongs to %s; add it",
				key, strings.Join(slices.DeleteFunc(slices.Clone(found[0]), func(other string) bool { return other == key }), ", "))
		}
	}
	secret := found[0][len(found[0])-1]
	ref := v1alpha1.SecretKeyReference{Name: t.name.Name, Key: secret}
	mount, method := v1alpha1.MountPath(t.of("authMount")), t.of("authMethod")
	switch {
	case secret == "token" && mount != "":
		return auth, nil, t.problem("has a token and the key \"authMount\", which is for logins; remove one of them")
	case secret != "password" && method != "":
		return auth, nil, t.problem("has the key \"authMethod\", which belongs to username and password; remove it")
	case secret == "token":
		auth.Token = &v1alpha1.TokenAuth{SecretKeyRef: ref}
	case secret == "secretID":
		auth.AppRole = &v1alpha1.AppRoleAuth{Mount: mount, RoleID: t.of("roleID"), SecretIDSecretKeyRef: ref}
	case method == "" || method == "userpass":
		auth.UserPass = &v1alpha1.PasswordAuth{Mount: mount, Username: t.of("username"), PasswordSecretKeyRef: ref}
	case method == "ldap":
		auth.LDAP = &v1alpha1.PasswordAuth{Mount: mount, Username: t.of("username"), PasswordSecretKeyRef: ref}
	default:
		return auth, nil, t.problem("has an unknown method at the key \"authMethod\"; write userpass or ldap")
	}
	return auth, map[string]string{secret: t.of(secret)}, nil
}

// ofConnection corrects where a sentence says that credentials are from, and what is to be corrected.
func ofConnection(err error, name client.ObjectKey) error {
	f := fault.From(err)
	replacements := []string{
		"Secret " + name.String() + ", key", "Connection " + name.String() + ", key",
		", or set spec.auth.appRole.secretIDWrapped if it is a wrapping token", "",
	}
	for _, method := range []string{"userPass", "ldap", "appRole"} {
		field := "spec.auth." + method + "."
		replacements = append(replacements, field+"mount", "authMount", field+"username", "username", field+"roleID", "roleID")
	}
	return &fault.Fault{Reason: f.Reason, Class: f.Class, Problem: strings.NewReplacer(replacements...).Replace(f.Message())}
}

func fill(field *string, value string) {
	if *field == "" {
		*field = value
	}
}
