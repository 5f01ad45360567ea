package auth

import (
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// ConnectionSettings are the keys of a Connection of type VAULT that say how to log in, and whose texts sentences may
// show.
func ConnectionSettings() []string {
	return append([]string{keyAuthMount, keyAuthMethod}, ConnectionFlags()...)
}

// ConnectionFlags are those of them that hold truth values, written as such or as text.
func ConnectionFlags() []string {
	var flags []string
	for _, r := range connectionForms() {
		flags = append(flags, r.connection.flags...)
	}
	return flags
}

// ConnectionCredentials are the keys of a Connection of type VAULT that no sentence shows.
func ConnectionCredentials() []string {
	var keys []string
	for _, form := range connectionKeys() {
		keys = append(keys, form...)
	}
	return keys
}

// FromConnection returns how to log in with the texts of a Connection of type VAULT, as a VaultConfig would have it,
// and the secret text by the key that it refers to. Its errors are faults of that Connection, which quote no text.
func FromConnection(
	name client.ObjectKey, text func(key string) string,
) (auth v1alpha1.VaultAuth, credentials map[string]string, err error) {
	keys, err := givenKeys(name, text)
	if err != nil {
		return auth, nil, err
	}
	form, err := formOf(name, keys, text)
	if err != nil {
		return auth, nil, err
	}
	if err := checkFlags(name, form, text); err != nil {
		return auth, nil, err
	}
	if form.check != nil {
		if err := form.check(name, text); err != nil {
			return auth, nil, err
		}
	}
	secret := form.secret()
	auth = form.auth(
		text, v1alpha1.MountPath(text(keyAuthMount)), v1alpha1.SecretKeyReference{Name: name.Name, Key: secret},
	)
	return auth, map[string]string{secret: text(secret)}, nil
}

// givenKeys returns the keys of the one kind of credential that a Connection has.
func givenKeys(name client.ObjectKey, text func(key string) string) ([]string, error) {
	given := func(key string) bool { return text(key) != "" }
	kinds := connectionKeys()
	var found [][]string
	for _, keys := range kinds {
		if slices.ContainsFunc(keys, given) {
			found = append(found, keys)
		}
	}
	switch {
	case len(found) == 0:
		return nil, invalidValue(name, "has no credentials, which a Connection of type VAULT needs", giveOneOf(kinds))
	case len(found) > 1:
		all := slices.DeleteFunc(slices.Concat(found...), func(key string) bool { return !given(key) })
		return nil, invalidValue(
			name, "has credentials of more than one kind ("+strings.Join(all, ", ")+")", giveOneOf(kinds),
		)
	}
	for _, key := range found[0] {
		if !given(key) {
			others := slices.DeleteFunc(slices.Clone(found[0]), func(other string) bool { return other == key })
			return nil, invalidValue(
				name, `has no text at the key "`+key+`", which belongs to `+strings.Join(others, ", "), "add it",
			)
		}
	}
	return found[0], nil
}

// formOf chooses among the methods that log in with these keys.
func formOf(name client.ObjectKey, keys []string, text func(key string) string) (*connectionForm, error) {
	var choice []string        // what the key authMethod may hold
	var chooses []string       // the keys that authMethod belongs to
	var fits []*connectionForm // the forms of these keys
	for _, r := range connectionForms() {
		if r.connection.authMethod != "" {
			chooses = r.connection.keys
		}
		if slices.Equal(r.connection.keys, keys) {
			fits, choice = append(fits, r.connection), append(choice, r.connection.authMethod)
		}
	}
	first, method := fits[0], text(keyAuthMethod)
	switch {
	case !first.mountable && text(keyAuthMount) != "":
		return nil, invalidValue(
			name, `has a `+first.secret()+` and the key "authMount", which is for logins`, "remove one of them")
	case first.authMethod == "" && method != "":
		return nil, invalidValue(name, `has the key "authMethod", which belongs to `+strings.Join(chooses, " and "), "remove it")
	case method == "":
		return first, nil
	}
	for _, form := range fits {
		if form.authMethod == method {
			return form, nil
		}
	}
	return nil, invalidValue(name, `has an unknown method at the key "authMethod"`, "write "+strings.Join(choice, " or "))
}

// checkFlags refuses flags that belong to credentials of another kind, and what is no truth value.
func checkFlags(name client.ObjectKey, chosen *connectionForm, text func(key string) string) error {
	for _, r := range connectionForms() {
		for _, flag := range r.connection.flags {
			value, form := text(flag), r.connection
			switch {
			case value == "":
			case !slices.Contains(chosen.flags, flag):
				return invalidValue(
					name, `has the key "`+flag+`", which belongs to `+strings.Join(form.keys, " and "), "remove it",
				)
			case value != flagSet && value != flagUnset:
				return invalidValue(
					name, `has something else than a truth value at the key "`+flag+`"`, "write true or false",
				)
			}
		}
	}
	return nil
}

// connectionKeys returns the kinds of credentials of a Connection, by the keys that make them up.
func connectionKeys() [][]string {
	var kinds [][]string
	for _, r := range connectionForms() {
		if !slices.ContainsFunc(kinds, func(keys []string) bool { return slices.Equal(keys, r.connection.keys) }) {
			kinds = append(kinds, r.connection.keys)
		}
	}
	return kinds
}

// giveOneOf lists the kinds of credentials: give exactly one of token, of username with password, and of roleID with
// secretID.
func giveOneOf(kinds [][]string) string {
	names := make([]string, 0, len(kinds))
	for _, keys := range kinds {
		names = append(names, strings.Join(keys, " with "))
	}
	last := len(names) - 1
	return "give exactly one of " + strings.Join(names[:last], ", of ") + ", and of " + names[last]
}

func invalidValue(name client.ObjectKey, problem, remedy string) error {
	return fault.Waiting(v1alpha1.ReasonInvalidSpec, "Connection %s: value %s", name, problem).WithRemedy("%s", remedy)
}
