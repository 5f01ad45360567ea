// Package scale shows what Sallyport costs where there is much of everything: nodes that are simulated, each with the
// real driver, client and refresher of the node plugin and with links in place of mounts, against two replicas of the
// controller as processes, a real API server and a real Vault. `make scale` runs it; `make test` does not.
package scale
