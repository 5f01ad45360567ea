package auth

import (
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// registration is one auth method.
type registration struct {
	// name as in spec.auth.
	name string
	// build makes the method from a VaultConfig whose spec.auth has it.
	build func(Input) (Method, error)
	// connection is how a Connection of type VAULT can ask for the method; nil: it cannot.
	connection *connectionForm
}

// connectionForm is how a Connection of type VAULT asks for a method.
type connectionForm struct {
	// rank of the form in sentences that list them.
	rank int
	// keys of the Connection's value that make up the login; the last one is secret.
	keys []string
	// flags are keys with truth values that may stand beside these.
	flags []string
	// authMethod is what the key "authMethod" holds to choose among forms of the same keys; empty: there is no other.
	// The one that is registered with the lowest rank is used where the Connection has no such key.
	authMethod string
	// mountable: the key "authMount" may say where the method is mounted.
	mountable bool
	// check refuses texts that no login can be made with, without quoting them; nil: none.
	check func(connection client.ObjectKey, text func(key string) string) error
	// auth writes the login as a VaultConfig would have it.
	auth func(
		text func(key string) string, mount v1alpha1.MountPath, secret v1alpha1.SecretKeyReference,
	) v1alpha1.VaultAuth
}

// secret is the key whose text is the credential.
func (f *connectionForm) secret() string { return f.keys[len(f.keys)-1] }

var registrations []registration

// register adds a method when the program starts. Each method's file does so itself, so that a new method needs no
// other file; which methods there are and in which order sentences list them, the fields of VaultAuth say.
func register(r registration) struct{} { //nolint:unparam // a result, so that a variable without a name can call it
	registrations = append(registrations, r)
	return struct{}{}
}

// connectionForms returns the methods that a Connection can ask for, in the order of their ranks.
func connectionForms() []registration {
	var forms []registration
	for _, r := range registrations {
		if r.connection != nil {
			forms = append(forms, r)
		}
	}
	slices.SortFunc(forms, func(a, b registration) int { return a.connection.rank - b.connection.rank })
	return forms
}
