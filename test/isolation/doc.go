// Package isolation shows that one tenant, hostile or careless, hurts nobody else. Its matrix has a row for each thing
// that a tenant with all rights in one namespace may do, and a column for each thing that a well-behaved tenant of
// another namespace needs meanwhile. `make test-isolation` runs it.
//
// Nothing stands in for anything: API server, etcd and Vault are the real ones, and the programs run as processes of
// their own with the memory limits that config/ ships. What a hostile tenant calls a Vault is the tenant's own server.
//
// Victim and Attack are no tests themselves, so that test/bench can measure with them.
package isolation
