// Package terminal is a pseudo-terminal of the kernel's, for tests of what a user sees at one.
package terminal
