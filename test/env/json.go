package env

import (
	"encoding/json"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// JSONOf encodes each member of an object, as the value of a Connection holds them. It panics for what is no JSON.
func JSONOf(value map[string]any) map[string]apiextensionsv1.JSON {
	encoded := map[string]apiextensionsv1.JSON{}
	for key, v := range value {
		raw, err := json.Marshal(v)
		must(err)
		encoded[key] = apiextensionsv1.JSON{Raw: raw}
	}
	return encoded
}
