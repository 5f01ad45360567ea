// Package once tests that an effect of a VaultTask happens at most once, whatever fails on the way: reconcilers are
// called directly, on a real API server and a real Vault, and are stopped, lied to and doubled at every step.
package once

import (
	"context"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultapi "github.com/hashicorp/vault/api"

	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

const namespace = "once"

var (
	ctx    = context.Background()
	cp     *env.ControlPlane
	server *env.Vault
	proxy  *env.Proxy
)

func TestOnce(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "VaultTasks: at most once")
}

var _ = BeforeSuite(func() {
	var err error
	cp, err = env.StartControlPlane(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(cp.Stop()).To(Succeed()) })
	server, err = env.StartVault(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(server.Close)
	proxy, err = env.StartProxy(server)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(proxy.Close)

	server.Policy("everything", `path "*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }`)
	Expect(server.Client().Sys().MountWithContext(ctx, "transit", &vaultapi.MountInput{Type: "transit"})).To(Succeed())
	Expect(cp.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
	token := server.Token(env.TokenOptions{Policies: []string{"everything"}})
	Expect(cp.Client.Create(ctx, builder.TokenSecret(namespace, builder.TokenSecretName, token))).To(Succeed())
	Expect(cp.Client.Create(ctx, server.Config(namespace, builder.ConfigName, builder.WithURL(proxy.URL())))).To(Succeed())
})
