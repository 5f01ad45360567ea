// Package once tests that an effect of a VaultTask happens at most once, whatever fails on the way: reconcilers are called directly, on a
// real API server and a real Vault, and are stopped, lied to and doubled at every step.
package once

import (
	"context"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultapi "github.com/hashicorp/vault/api"

	"sallyport.dev/sallyport/api/v1alpha1"
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
	Expect(cp.Client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "vault-token"},
		StringData: map[string]string{"token": server.Token(env.TokenOptions{Policies: []string{"everything"}})},
	})).To(Succeed())
	Expect(cp.Client.Create(ctx, &v1alpha1.VaultConfig{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "main"},
		Spec: v1alpha1.VaultConfigSpec{
			URL: proxy.URL(), EnginePath: "secret", CACertificate: server.CACertificate(),
			Auth: v1alpha1.VaultAuth{Token: &v1alpha1.TokenAuth{SecretKeyRef: v1alpha1.SecretKeyReference{Name: "vault-token", Key: "token"}}},
		},
	})).To(Succeed())
})
