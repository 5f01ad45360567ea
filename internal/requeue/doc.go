// Package requeue decides when a controller looks at an object again, in one place for every kind. It knows faults and
// nothing of kinds, and writes no status.
package requeue
