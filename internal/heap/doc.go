// Package heap knows what values take of the Go heap, and what a controller replica's memory is divided into.
//
// It knows nothing of who uses the memory, and must not measure by building what it measures.
package heap
