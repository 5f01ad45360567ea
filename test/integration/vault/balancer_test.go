package vault_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A load balancer in front of a cluster", func() {
	It("is asked for another node when the one of the connection is sealed or has lost the lead", func(ctx context.Context) {
		first, err := env.StartVault(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(first.Close)
		// A node has a vote when the cluster has seen it well for so long.
		_, err = first.Client().Logical().WriteWithContext(ctx, "sys/storage/raft/autopilot/configuration",
			map[string]any{"server_stabilization_time": "1s"})
		Expect(err).NotTo(HaveOccurred())
		nodes := []*env.Vault{first}
		for range 2 { // with one sealed, the others are still a majority
			node, failed := first.StartStandby(ctx)
			Expect(failed).NotTo(HaveOccurred())
			DeferCleanup(node.Close)
			nodes = append(nodes, node)
		}
		Eventually(voters, "90s", "200ms").WithArguments(ctx, first).Should(Equal(len(nodes)))
		balancer, err := env.StartBalancer(first)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(balancer.Close)
		leader := func(except *env.Vault) (found *env.Vault) {
			Eventually(func() *env.Vault {
				for _, node := range nodes {
					health, failed := node.Client().Sys().HealthWithContext(ctx)
					if failed == nil && node != except && !health.Sealed && !health.Standby {
						found = node
					}
				}
				return found
			}, "90s", "200ms").ShouldNot(BeNil())
			return found
		}

		first.Policy("reader", `path "secret/data/*" { capabilities = ["create", "read", "update"] }`)
		f := newFixture(func(c *v1alpha1.VaultConfig) {
			c.Spec.URL, c.Spec.CACertificate = balancer.URL(), first.CACertificate()
		})
		token := first.Token(env.TokenOptions{Policies: []string{"reader"}, TTL: time.Hour})
		f.tokens = append(f.tokens, token)
		f.setToken(token)
		session := f.session(ctx)
		location := secrets.Location{EnginePath: "secret", SecretPath: "db", KVVersion: v1alpha1.KVVersion2}
		_, err = secrets.Write(ctx, session, location, map[string]any{"password": canary}, 0)
		Expect(err).NotTo(HaveOccurred())
		read := func() error {
			_, err := secrets.Read(ctx, session, location)
			f.mute(err)
			return err
		}
		Expect(read()).To(Succeed())
		Expect(balancer.Led(first)).To(Equal(1), "all goes over one connection")

		By("having that node step down, which then forwards what it is asked")
		Expect(first.Client().Sys().StepDownWithContext(ctx)).To(Succeed())
		second := leader(first)
		balancer.Lead(second)
		Eventually(read, "90s").Should(Succeed())
		Eventually(func() int {
			f.later(20 * time.Second) // until the next look at its health
			_, err := f.sessions.Health(ctx, f.config)
			f.mute(err)
			_ = read()
			return balancer.Led(second)
		}, "90s", "3s").Should(BeNumerically(">=", 1))
		Expect(read()).To(Succeed())

		By("sealing the node that the connection leads to now")
		Expect(second.Client().Sys().SealWithContext(ctx)).To(Succeed())
		third := leader(second)
		led := balancer.Led(third)
		balancer.Lead(third)
		f.later(time.Second) // past the last look at its health
		Expect(read()).NotTo(Succeed(), "the connection still leads to the sealed node")
		Eventually(read, "90s").Should(Succeed())
		Expect(balancer.Led(third)).To(BeNumerically(">", led))
	})
})

// voters is how many nodes of a cluster have a vote.
func voters(ctx context.Context, v *env.Vault) (int, error) {
	found, err := v.Client().Logical().ReadWithContext(ctx, "sys/storage/raft/configuration")
	if err != nil {
		return 0, err
	}
	config, _ := found.Data["config"].(map[string]any)
	servers, _ := config["servers"].([]any)
	count := 0
	for _, server := range servers {
		if server, ok := server.(map[string]any); ok && server["voter"] == true {
			count++
		}
	}
	return count, nil
}
