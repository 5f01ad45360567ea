// Package refresh keeps the files of published volumes current: it asks the resolver when a volume is due or one of its
// secrets has changed, and replaces files and leases by what the resolver answers.
//
// It must not publish or unpublish a volume, and must not touch one without its lock. Whatever fails, the last good
// files stay.
package refresh
