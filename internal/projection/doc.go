// Package projection turns the resolved value of a Connection into the files of a volume: their names, their content,
// and whether they fit. A Layout knows the files before a secret is read; the file formats are a registry (format.go),
// with one file for each; templates run with functions of our own on a work budget.
//
// It must not write files, and it knows neither Vault nor Kubernetes objects beyond the API types. Everything that it
// handles is secret: its errors name keys, rules and sizes, never content, and a File does not print its content.
package projection
