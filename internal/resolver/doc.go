// Package resolver is the engine that turns a Connection into the files of one pod's volume: it parses the Connection
// (document), finds out which secrets it needs (plan), reads them from Vault with as few requests as possible (version
// cache, burst cache, shared reads), has Vault issue dynamic secrets, and puts the values in place. A call runs down
// these files in this order and none calls upward.
//
// It keeps no secret value: values live in memory while requests are in flight, and for two seconds at most in a burst
// of them. It never speaks Vault's protocol itself (that is package vault), authorises nobody (package
// server), and knows nothing of volumes on nodes and mounts (package node).
package resolver
