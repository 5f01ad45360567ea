// Package server is the gRPC service of one replica, which node plugins ask for the files of volumes: it authorises
// each request for one volume of one pod, has the engine (package resolver) resolve the Connection and package lease
// look after the volume's leases, and tells package usage and the pod's events of the outcome. It also has the
// replica's serving certificate and publishes it.
//
// It trusts nothing that a request says of itself, reads nothing from Vault, and decides nothing about secrets: that is
// the engine's.
package server
