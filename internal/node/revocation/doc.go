// Package revocation has the leases of volumes that are gone revoked: a spool of files on a tmpfs keeps them over
// restarts of the plugin, and a queue asks a resolver for each, with back-off, until it answers.
//
// It must not open leases, which are encrypted for resolvers, and must not hold a pod's token: the plugin's own goes
// with the request. Nothing in it can fail an unpublish: at worst leases run out.
package revocation
