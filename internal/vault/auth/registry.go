package auth

import (
	"reflect"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// New returns the auth method that a VaultConfig names. The API server lets only one be named; objects that never were
// there are checked here.
func New(input Input) (Method, error) {
	names, config := set(&input.Config.Spec.Auth), input.Source.subject
	switch len(names) {
	case 0:
		all := Names()
		last := len(all) - 1
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.auth: no method is set").
			WithRemedy("set one of %s and %s (%s)", strings.Join(all[:last], ", "), all[last], config)
	case 1:
	default:
		fields := make([]string, 0, len(names))
		for _, name := range names {
			fields = append(fields, specField(name))
		}
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.auth: more than one method is set").
			WithRemedy("leave one of %s (%s)", strings.Join(fields, ", "), config)
	}
	this := func(r registration) bool { return r.name == names[0] }
	method, err := registrations[slices.IndexFunc(registrations, this)].build(input)
	if err != nil {
		return nil, fault.In(err, "%s", specField(names[0]))
	}
	return method, nil
}

// MethodName is the name of a VaultConfig's auth method, as in spec.auth; empty if none is set.
func MethodName(auth *v1alpha1.VaultAuth) string {
	if names := set(auth); len(names) > 0 {
		return names[0]
	}
	return ""
}

// Names of all methods, as in spec.auth and in that order.
func Names() []string {
	fields := reflect.TypeFor[v1alpha1.VaultAuth]()
	names := make([]string, 0, fields.NumField())
	for field := range fields.Fields() {
		names = append(names, fieldName(field))
	}
	return names
}

// NamespaceOf returns the namespace of Vault that a login names, and the method in whose settings it stands; empty if
// none is named.
func NamespaceOf(auth *v1alpha1.VaultAuth) (method, namespace string) {
	values := reflect.ValueOf(auth).Elem()
	for i := range values.NumField() {
		if values.Field(i).IsNil() {
			continue
		}
		if named := values.Field(i).Elem().FieldByName("VaultNamespace"); named.IsValid() && named.String() != "" {
			return fieldName(values.Type().Field(i)), named.String()
		}
	}
	return "", ""
}

// set returns the methods that are set.
func set(auth *v1alpha1.VaultAuth) []string {
	values := reflect.ValueOf(auth).Elem()
	var names []string
	for i := range values.NumField() {
		if !values.Field(i).IsNil() {
			names = append(names, fieldName(values.Type().Field(i)))
		}
	}
	return names
}

func fieldName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return name
}
