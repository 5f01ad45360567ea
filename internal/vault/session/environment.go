package session

import (
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
)

// environment is what the sessions of one Sessions share.
type environment struct {
	reader      client.Reader
	kubernetes  kubernetes.Interface
	allowed     transport.AllowedOrigins
	clock       clock.PassiveClock
	timeout     time.Duration
	networks    *networks.Guard
	pool        *transport.Pool
	revocations revocationQueue
	leases      leaseRegister
	accounts    *accounts
	// leading tells whether this is the replica that logs in first where a refused login counts.
	leading func() bool
	// source says in sentences where settings and credentials of a config come from.
	source func(*v1alpha1.VaultConfig) auth.Source
	// turned is called when a session can be used no more, or again; nil while nobody wants to know.
	turned atomic.Pointer[func(types.NamespacedName)]
	// connChanged is called when a session gave up a way to Vault.
	connChanged func()
}

// about says that an error concerns the object that says how to log in.
func about(err error, config *v1alpha1.VaultConfig) error {
	if err == nil {
		return nil
	}
	return fault.About(err, transport.SubjectOf(config))
}
