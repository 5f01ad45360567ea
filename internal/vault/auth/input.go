package auth

import (
	"k8s.io/client-go/kubernetes"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Input is what a Method is made from.
type Input struct {
	Config *v1alpha1.VaultConfig
	// Source says how sentences call where the settings and the credential come from.
	Source Source
	// Clients make and review tokens of service accounts; nil: methods that need one fail.
	Clients kubernetes.Interface
	// Workload to log in as; nil: the VaultConfig's own identity.
	Workload *WorkloadIdentity
	// SecretIDs that wrapping tokens of a Connection gave outlive the method; nil: they end with it.
	SecretIDs *ConnectionSecretIDs
}
