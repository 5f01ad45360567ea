// Package expression is the language of spec.value: it parses the references vault.secret(...) and the literals
// vault.text(...) in strings, with their places, and replaces them by the values of a Lookup, once and without scanning
// the result.
//
// It must not know the object behind a reference: it reads neither Vault nor Kubernetes, does not decide which attached
// secret has a key, and makes no files. Its errors name places and the expression's own text, never a value of a
// Lookup.
package expression
