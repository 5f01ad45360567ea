package session

import (
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// environment is what the sessions of one Sessions share.
type environment struct {
	reader      client.Reader
	kubernetes  kubernetes.Interface
	allowed     transport.AllowedOrigins
	clock       clock.PassiveClock
	timeout     time.Duration
	pool        *transport.Pool
	revocations revocationQueue
	// source says in sentences where settings and credentials of a config come from.
	source func(*v1alpha1.VaultConfig) auth.Source
	// connChanged is called when a session gave up a way to Vault.
	connChanged func()
}
