// Package race tells tests whether the race detector watches them: it takes memory of its own, so that what a piece of
// code takes cannot be measured under it.
package race
