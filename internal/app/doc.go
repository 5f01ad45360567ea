// Package app is the modes of the program: their flags and how the packages are wired together in each. It must not
// decide anything that another package could decide.
package app
