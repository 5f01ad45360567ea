package builder

import "reflect"

// Edits returns a copy of a spec for each of its fields, by the field's name, in which that one has another value: not
// one that makes sense, but one that the field did not have.
func Edits[Spec any](spec Spec) map[string]Spec {
	edits := map[string]Spec{}
	fields := reflect.TypeFor[Spec]()
	for i := range fields.NumField() {
		edited := spec // what the other fields lead to is shared, and not changed
		change(reflect.ValueOf(&edited).Elem().Field(i))
		edits[fields.Field(i).Name] = edited
	}
	return edits
}

// change gives a value another one of its type, which shares nothing with the former.
func change(value reflect.Value) {
	switch value.Kind() {
	case reflect.String:
		value.SetString(value.String() + "changed")
	case reflect.Bool:
		value.SetBool(!value.Bool())
	case reflect.Int, reflect.Int32, reflect.Int64:
		value.SetInt(value.Int() + 60)
	case reflect.Pointer:
		other := reflect.New(value.Type().Elem())
		if !value.IsNil() {
			other.Elem().Set(value.Elem())
		}
		change(other.Elem())
		value.Set(other)
	case reflect.Slice:
		other := reflect.MakeSlice(value.Type(), value.Len()+1, value.Len()+1)
		reflect.Copy(other, value)
		value.Set(other)
	case reflect.Map:
		other := reflect.MakeMap(value.Type())
		for _, key := range value.MapKeys() {
			other.SetMapIndex(key, value.MapIndex(key))
		}
		other.SetMapIndex(reflect.ValueOf("changed").Convert(value.Type().Key()), reflect.Zero(value.Type().Elem()))
		value.Set(other)
	case reflect.Struct:
		change(value.Field(0))
	default:
		panic("a field of kind " + value.Kind().String())
	}
}
