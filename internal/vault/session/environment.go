package session

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
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
	// secretIDs that wrapping tokens gave, and that are kept for longer than a session; nil where they are not.
	secretIDs *auth.ConnectionSecretIDs
	// turned is called when a session can be used no more, or again; nil while nobody wants to know.
	turned atomic.Pointer[func(types.NamespacedName)]
	// connChanged is called when a session gave up a way to Vault.
	connChanged func()
}

// apart is an environment for sessions that have no VaultConfig: with connections of their own, and where they may
// lead, refusals and the clock in common. Who reads credentials, whose words name them and who leads is to be filled
// in.
func (e *environment) apart() *environment {
	return &environment{
		allowed: e.allowed, clock: e.clock, timeout: e.timeout, networks: e.networks, pool: e.pool.Apart(),
		accounts: e.accounts,
	}
}

// WayTo names the way on which a VaultConfig reaches its Vault, by a digest of all that decides who answers there: whom
// it trusts and over what it goes, too. What was sent on one way is not sent on another, and what was answered on one
// says nothing of another, for whoever writes a VaultConfig may lead it to a server of his own.
func WayTo(config *v1alpha1.VaultConfig) string {
	spec, namespace := &config.Spec, ""
	if spec.CACertificateFrom != nil {
		namespace = config.Namespace
	}
	way := []any{
		spec.URL, spec.VaultNamespace, spec.CACertificate, spec.CACertificateFrom, namespace, spec.TLS, spec.Proxy,
	}
	// Only where there are some: the digests that volumes keep since before there were headers stay what they were.
	if len(spec.Headers) > 0 {
		way = append(way, spec.Headers, config.Namespace)
	}
	encoded, err := json.Marshal(way)
	utilruntime.Must(err) // there is nothing in it that JSON cannot hold
	digest := sha256.Sum256(encoded)
	return hex.EncodeToString(digest[:])
}

// NamesNamespace is the fault of a VaultConfig that names a namespace of a Vault which has none: what is asked of it
// would be answered from the root. It is nil if none is named. It is no terminal fault, for Vault may be upgraded.
func NamesNamespace(config *v1alpha1.VaultConfig) *fault.Fault {
	subject := transport.SubjectOf(config)
	spec := map[string]string{fault.KindVaultConfig: "spec.", fault.KindVaultTask: "spec.vault."}[subject.Kind]
	field, named := spec+"vaultNamespace", config.Spec.VaultNamespace
	if transport.NamespacePath(named) == "" {
		var method string
		method, named = auth.NamespaceOf(&config.Spec.Auth)
		field = spec + "auth." + method + ".vaultNamespace"
	}
	if transport.NamespacePath(named) == "" {
		return nil
	}
	return noNamespaces(field, named, config, subject.String()).
		WithRemedy("leave it out, or let %surl name a Vault that has namespaces", spec)
}

func noNamespaces(field, named string, config *v1alpha1.VaultConfig, actor string) *fault.Fault {
	return fault.Waiting(v1alpha1.ReasonInvalidSpec,
		"%s %q: Vault at %s is the Community edition, which has no namespaces and would answer from the root (%s)",
		field, named, config.Spec.URL, actor)
}

// about says that an error concerns the object that says how to log in.
func about(err error, config *v1alpha1.VaultConfig) error {
	if err == nil {
		return nil
	}
	return fault.About(err, transport.SubjectOf(config))
}
