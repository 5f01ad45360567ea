package bench

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// TestRollouts counts the tokens that restarts of the controller leave in Vault, where each VaultConfig logs in for an
// hour. BENCH_ROLLOUTS is how often it is restarted; then it is killed three times.
func TestRollouts(t *testing.T) {
	g := NewWithT(t)
	s := newSystem(t)
	const configs = 20
	rollouts := setting(t, "BENCH_ROLLOUTS", 20)
	s.vault.EnableAuth("userpass", "userpass")
	s.vault.Write("auth/userpass/users/bob", map[string]any{"password": "a password of bob", "token_ttl": "1h"})
	g.Expect(s.Client.Create(t.Context(), builder.Secret("default", "bob", map[string]string{"password": "a password of bob"}))).To(Succeed())
	for i := range configs {
		config := s.vault.Config("default", fmt.Sprintf("vault-%d", i), builder.WithURL(s.proxy.URL()), func(c *v1alpha1.VaultConfig) {
			c.Spec.Auth = v1alpha1.VaultAuth{UserPass: &v1alpha1.PasswordAuth{
				Username: "bob", PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: "bob", Key: "password"},
			}}
		})
		g.Expect(s.Client.Create(t.Context(), config)).To(Succeed())
	}
	logins := func() int { return s.proxy.Counts()["POST auth/userpass/login/bob"] }
	loggedIn := func() {
		g.Eventually(logins, time.Minute, 100*time.Millisecond).Should(BeNumerically(">=", configs))
		g.Consistently(logins, 2*time.Second, 100*time.Millisecond).Should(Equal(configs), "each logs in once")
	}
	// Tokens are not counted while there are logins: one that is looked up before Vault has stored its lease is a token
	// without a lease to Vault, which ends it.
	tokens := func() int { return s.vault.TokensFrom("auth/userpass/login/bob") }
	loggedIn()
	restart := func(signal os.Signal) {
		g.Expect(s.controller.Signal(signal)).To(Succeed())
		_, _ = s.controller.Wait()
		s.proxy.Reset()
		s.launchController(t)
		loggedIn()
	}

	report := newReport("rollouts", fmt.Sprintf("tokens in Vault of %d VaultConfigs that log in, one replica, restarted again and again", configs),
		"restarts", "of these kills", "tokens")
	report.add(0, 0, float64(tokens()))
	for range rollouts {
		restart(syscall.SIGTERM)
	}
	after := float64(tokens())
	report.add(float64(rollouts), 0, after)
	const kills = 3
	for range kills {
		restart(syscall.SIGKILL)
	}
	report.add(float64(rollouts+kills), kills, float64(tokens()))
	report.atMost("tokens after the roll-outs", after, configs)
	report.publish(t)
}
