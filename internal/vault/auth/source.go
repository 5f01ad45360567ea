package auth

import (
	"fmt"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// Keys of a Connection of type VAULT that say how to log in, and hold no secret.
const (
	keyAuthMount  = "authMount"
	keyAuthMethod = "authMethod"
	// keySecretIDWrapped is a flag: it holds a truth value.
	keySecretIDWrapped = "secretIDWrapped"
)

// What a flag holds, as text.
const (
	flagSet   = "true"
	flagUnset = "false"
)

// Source is where the settings and the credential of a login come from, in the words of sentences.
type Source struct {
	// subject is the object that says how to log in.
	subject fault.Subject
	// connection: settings and credential are keys of a Connection's value, and user names are as secret as passwords.
	connection bool
}

// FromSpec is the source of what stands in spec.auth and in the Secrets to which that refers.
func FromSpec(config *v1alpha1.VaultConfig) Source {
	return Source{subject: transport.SubjectOf(config)}
}

// FromConnectionKeys is the source of what stands at the keys of a Connection of type VAULT.
func FromConnectionKeys(config *v1alpha1.VaultConfig) Source {
	return Source{subject: transport.SubjectOf(config), connection: true}
}

// key names a secret text: Secret shop/prod, key "token".
func (s Source) key(ref v1alpha1.SecretKeyReference) string {
	kind := "Secret"
	if s.connection {
		kind = fault.KindConnection
	}
	return fmt.Sprintf("%s %s/%s, key %q", kind, s.subject.Namespace, ref.Name, ref.Key)
}

// field names a setting of a method: spec.auth.appRole.roleID.
func (s Source) field(method, setting string) string {
	switch {
	case !s.connection:
		return specField(method) + "." + setting
	case setting == "mount":
		return keyAuthMount
	}
	return setting
}

// specField names the field of a method in a VaultConfig.
func specField(method string) string { return "spec.auth." + method }

// actor names who logs in: VaultConfig shop/prod, auth kubernetes role app.
func (s Source) actor(label string) string { return s.subject.String() + ", auth " + label }
