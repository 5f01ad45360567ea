// Package bench measures Sallyport, as the program that users run, against a real API server and a real Vault. `make
// bench` runs it; `make test` does not. Each measurement is a test of its own that returns a Report: a table for
// people, a JSON file for programs.
package bench
