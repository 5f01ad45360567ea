// Package volume is one volume of a pod, in memory and on its tmpfs: state.json, the files and their atomic
// replacement, the mounts, and the memory budget that all volumes share.
//
// It must not ask a resolver, start a goroutine, or know of CSI: node and refresh decide what is written when. Content
// goes to the tmpfs of the volume that it belongs to and nowhere else; tokens stay in memory.
package volume
