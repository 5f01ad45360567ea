// Package builder has one builder for each kind of object that tests make: a valid base object, and options that change
// it. An option is a function on the object, so that a test's own closure is one too.
//
// Every layer of tests uses it, unit tests included: it imports API types only, starts nothing and talks to nobody
// (package env does).
package builder
