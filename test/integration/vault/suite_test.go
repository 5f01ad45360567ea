// Package vault_test runs the packages of internal/vault against a real Vault server. Kubernetes is an in-memory reader
// here: all that sessions ask of it is to get a Secret or ConfigMap.
package vault_test

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/test/env"
)

// One Vault for all specs, and for each spec a proxy in front of it that counts and spoils requests: what sessions of a
// former spec still send is none of its. Specs that stop or seal Vault put it right again before they end.
var (
	server *env.Vault
	proxy  *env.Proxy
)

func TestVault(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(45 * time.Second) // a process may stall for seconds on a busy machine
	RunSpecs(t, "Vault sessions on a real Vault")
}

var _ = BeforeSuite(func() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	server, err = env.StartVault(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(server.Close)
	server.Policy("reader", `
path "secret/data/*" { capabilities = ["read"] }
path "kv/*" { capabilities = ["read"] }
`)
	server.Policy("writer", `
path "secret/data/*" { capabilities = ["create", "read", "update"] }
path "secret/metadata/*" { capabilities = ["read"] }
`)
	DeferCleanup(func() {
		if started := apiServer; started != nil {
			Expect(started.Stop()).To(Succeed())
		}
		if started := ldapServer; started != nil {
			started.Close()
		}
	})
	server.Policy("data-only", `path "secret/data/*" { capabilities = ["create", "read", "update"] }`)
})

var _ = BeforeEach(func() {
	var err error
	proxy, err = env.StartProxy(server)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(proxy.Close)
})
