// Package node is the node plugin: the CSI driver that mounts Connections into pods. It serves CSI's identity and node
// services on a Unix socket and registers itself with the kubelet; packages below it keep the files of each volume on a
// tmpfs of its own (volume, mount), refresh them (refresh) and have the leases of volumes that are gone revoked
// (revocation).
//
// It knows nothing of Vault, of Connections or of any Kubernetes object: a Resolver turns a volume's attributes and the
// pod's token into files. It must not import controllers or internal/vault, must not keep a token anywhere but in
// memory, and must not write content anywhere but to the tmpfs of the volume that it belongs to.
//
// Three promises hold at every moment, also when the process is killed between any two system calls:
//   - A volume is never reported ready and empty: the target is mounted last, and only of files that are complete.
//   - A complete volume is never unmounted or emptied before the kubelet asks for it.
//   - Whatever a publish or an unpublish left half done is finished or undone by the kubelet's next try, or by the scan
//     at the next start.
package node
