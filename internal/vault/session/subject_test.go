package session

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// TestFaultsOfAVaultConfigAreAboutIt: whoever uses the VaultConfig waits until it is corrected, and does not end for
// its sake.
func TestFaultsOfAVaultConfigAreAboutIt(t *testing.T) {
	object := fault.Subject{Kind: fault.KindVaultConfig, Namespace: "shop", Name: "prod"}
	task := fault.Subject{Kind: fault.KindVaultTask, Namespace: "shop", Name: "rotate"}
	yes := true
	for name, test := range map[string]struct {
		mutate        func(config *v1alpha1.VaultConfig)
		class, itsOwn fault.Class
	}{
		"address": {
			func(c *v1alpha1.VaultConfig) { c.Spec.URL = "http://vault" }, fault.ClassWaiting, fault.ClassTerminal,
		},
		"proxy": {
			func(c *v1alpha1.VaultConfig) { c.Spec.Proxy = &v1alpha1.VaultProxy{URL: "socks5://proxy"} },
			fault.ClassWaiting, fault.ClassTerminal,
		},
		"authority": {
			func(c *v1alpha1.VaultConfig) { c.Spec.CACertificate = "no PEM" }, fault.ClassWaiting, fault.ClassTerminal,
		},
		"no auth method": {
			func(c *v1alpha1.VaultConfig) { c.Spec.Auth = v1alpha1.VaultAuth{} }, fault.ClassWaiting, fault.ClassTerminal,
		},
		"a workload's identity where there is none": {
			func(c *v1alpha1.VaultConfig) {
				c.Spec.Auth = v1alpha1.VaultAuth{JWT: &v1alpha1.ServiceAccountAuth{Role: "app", Workload: &yes}}
			}, fault.ClassWaiting, fault.ClassTerminal,
		},
		"credential": {func(*v1alpha1.VaultConfig) {}, fault.ClassWaiting, fault.ClassWaiting},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			config := &v1alpha1.VaultConfig{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "prod", UID: "uid"}}
			config.Spec.URL = "https://vault.invalid"
			config.Spec.Auth.Token = &v1alpha1.TokenAuth{SecretKeyRef: v1alpha1.SecretKeyReference{Name: "a", Key: "b"}}
			test.mutate(config)
			sessions, err := NewSessions(Options{Reader: fake.NewClientBuilder().Build()})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = sessions.For(t.Context(), config)
			g.Expect(err).To(HaveOccurred())
			f := fault.From(err)
			g.Expect(f.Subject).To(Equal(object))
			g.Expect(f.For(task).Class).To(Equal(test.class))
			g.Expect(f.For(object).Class).To(Equal(test.itsOwn))
		})
	}
}

// TestAnEphemeralSessionIsAboutTheObjectThatItStandsIn: a VaultTask's own Vault is a matter of the task.
func TestAnEphemeralSessionIsAboutTheObjectThatItStandsIn(t *testing.T) {
	g := NewWithT(t)
	sessions, err := NewSessions(Options{Reader: fake.NewClientBuilder().Build()})
	g.Expect(err).NotTo(HaveOccurred())
	config := &v1alpha1.VaultConfig{
		TypeMeta:   metav1.TypeMeta{Kind: fault.KindConnection},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "x", UID: "uid"},
	}
	config.Spec.Auth.Token = &v1alpha1.TokenAuth{SecretKeyRef: v1alpha1.SecretKeyReference{Name: "x", Key: "token"}}
	_, _, err = sessions.Ephemeral(t.Context(), config, map[string]string{"token": "hvs.x"})
	g.Expect(err).To(HaveOccurred())
	g.Expect(fault.From(err).Subject).To(Equal(fault.Subject{Kind: fault.KindConnection, Namespace: "shop", Name: "x"}))
	config.Kind = fault.KindVaultTask
	_, err = sessions.For(t.Context(), config)
	g.Expect(fault.From(err).Subject).To(Equal(fault.Subject{Kind: fault.KindVaultTask, Namespace: "shop", Name: "x"}))
}
