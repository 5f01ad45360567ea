package vaultconfig

import (
	"cmp"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/test/builder"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)

// good is what a healthy Vault and a renewable token look like.
func good() observation {
	return observation{
		enabled: true, autoRenew: true,
		health: transport.Health{Version: "1.21.1", ClusterName: "vault-main", Initialized: true},
		token: auth.TokenInfo{
			ExpireTime: now.Add(time.Hour), CreationTTL: time.Hour, Renewable: true,
			Policies: []string{"default", "shop"},
		},
		nextRenewal: now.Add(40 * time.Minute),
	}
}

func TestReport(t *testing.T) {
	for name, test := range map[string]struct {
		mutate func(*observation)
		// mark is the condition that says how the object is, if it is not Ready.
		mark          string
		ready         metav1.ConditionStatus
		reason        string
		renewing      metav1.ConditionStatus
		renewReason   string
		present       string
		renewSentence string
	}{
		"a healthy config is ready": {
			mutate: func(*observation) {}, ready: "True", reason: v1alpha1.ReasonSucceeded, renewing: "True", renewReason: v1alpha1.ReasonRenewed},
		"a disabled config is suspended, and nothing is being worked on": {
			mutate: func(o *observation) { o.enabled = false }, mark: v1alpha1.ConditionSuspended,
			ready: "True", reason: v1alpha1.ReasonConfigDisabled, renewing: "True", renewReason: v1alpha1.ReasonRenewed},
		"a Vault that is down is worked on": {
			mutate: func(o *observation) {
				o.healthErr = fault.Transient(v1alpha1.ReasonVaultUnreachable,
					"no answer")
			},
			ready: "False", reason: v1alpha1.ReasonVaultUnreachable, present: v1alpha1.ConditionReconciling},
		"a wrong spec is stalled": {
			mutate: func(o *observation) { o.healthErr = fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.url: …") },
			ready:  "False", reason: v1alpha1.ReasonInvalidSpec, present: v1alpha1.ConditionStalled},
		"a rejected token leaves renewal unknown": {
			mutate: func(o *observation) { o.authErr = fault.Waiting(v1alpha1.ReasonAuthFailed, "rejected") },
			ready:  "False", reason: v1alpha1.ReasonAuthFailed, renewing: "Unknown", renewReason: v1alpha1.ReasonAuthFailed,
			present: v1alpha1.ConditionStalled},
		"a credential that is not there yet is waited for": {
			mutate: func(o *observation) { o.authErr = fault.Waiting(v1alpha1.ReasonCredentialMissing, "no Secret") },
			ready:  "False", reason: v1alpha1.ReasonCredentialMissing, renewing: "Unknown",
			renewReason: v1alpha1.ReasonCredentialMissing, present: v1alpha1.ConditionReconciling},
		"a config whose pods log in themselves has no token to renew": {
			mutate: func(o *observation) { o.workload, o.token = true, auth.TokenInfo{} },
			ready:  "True", reason: v1alpha1.ReasonSucceeded},
		"a login that will be repeated needs nobody's care": {
			mutate: func(o *observation) { o.token.FromLogin, o.token.MaxTTLReached = true, true },
			ready:  "True", reason: v1alpha1.ReasonSucceeded, renewing: "True", renewReason: v1alpha1.ReasonRenewed},
		"a login that is not repeated in time says so": {
			mutate: func(o *observation) {
				o.token.FromLogin, o.renewErr = true,
					fault.Transient(v1alpha1.ReasonVaultError, "an error inside Vault")
			},
			ready: "True", reason: v1alpha1.ReasonSucceeded, renewing: "False", renewReason: v1alpha1.ReasonRenewalFailed,
			renewSentence: "cannot be renewed or replaced: an error inside Vault"},
		"a login without autoRenew is repeated when the token is dead": {
			mutate: func(o *observation) { o.token.FromLogin, o.autoRenew = true, false },
			ready:  "True", reason: v1alpha1.ReasonSucceeded, renewing: "False", renewReason: v1alpha1.ReasonRenewalDisabled,
			renewSentence: "a new login follows"},
		"a login is not promised with a secret ID of which nothing is known": {
			mutate: func(o *observation) {
				o.token.FromLogin = true
				o.token.Logins = auth.Logins{Unknown: true, Denied: "auth/approle/role/app/secret-id/lookup"}
			},
			ready: "True", reason: v1alpha1.ReasonSucceeded, renewing: "True", renewReason: v1alpha1.ReasonRenewed,
			renewSentence: `whether the secret ID is good for another login is not known: for that to be told here, let the ` +
				`role's policy "update" auth/approle/role/app/secret-id/lookup`},
		"a login is not promised without autoRenew either": {
			mutate: func(o *observation) {
				o.token.FromLogin, o.autoRenew, o.token.Logins = true, false, auth.Logins{Unknown: true}
			},
			ready: "True", reason: v1alpha1.ReasonSucceeded, renewing: "False", renewReason: v1alpha1.ReasonRenewalDisabled,
			renewSentence: `a new login follows when the token is dead: spec.autoRenew is false; whether the secret ID is good for another login is not known`},
		"a token with a number of uses dies when they are used up": {
			mutate: func(o *observation) { o.token.NumUses = 10 },
			ready:  "True", reason: v1alpha1.ReasonSucceeded, renewing: "False", renewReason: v1alpha1.ReasonUseLimited,
			renewSentence: "put one without num_uses into Secret shop/vault-token"},
		"a token without expiry needs no renewal": {
			mutate: func(o *observation) { o.token.ExpireTime = time.Time{} },
			ready:  "True", reason: v1alpha1.ReasonSucceeded, renewing: "True", renewReason: v1alpha1.ReasonNeverExpires},
		"a token that may not look itself up is not taken for one that never expires": {
			mutate: func(o *observation) { o.token = auth.TokenInfo{Opaque: true} },
			ready:  "True", reason: v1alpha1.ReasonSucceeded, renewing: "False", renewReason: v1alpha1.ReasonLookupDenied},
		"a token at its max TTL is ready until it dies, and says when": {
			mutate: func(o *observation) { o.token.MaxTTLReached = true },
			ready:  "True", reason: v1alpha1.ReasonSucceeded, renewing: "False", renewReason: v1alpha1.ReasonMaxTTLReached,
			renewSentence: `the token dies at 2026-11-23T13:00:00Z: its max TTL allows no further renewal; put a new token into Secret shop/vault-token, key "token" before that`},
		"a token that is not renewable says when it dies": {
			mutate: func(o *observation) { o.token.Renewable = false },
			ready:  "True", reason: v1alpha1.ReasonSucceeded, renewing: "False", renewReason: v1alpha1.ReasonNotRenewable},
		"autoRenew: false says when the token dies": {
			mutate: func(o *observation) { o.autoRenew = false },
			ready:  "True", reason: v1alpha1.ReasonSucceeded, renewing: "False", renewReason: v1alpha1.ReasonRenewalDisabled},
		"a failed renewal does not end readiness": {
			mutate: func(o *observation) { o.renewErr = fault.Transient(v1alpha1.ReasonVaultError, "500") },
			ready:  "True", reason: v1alpha1.ReasonSucceeded, renewing: "False", renewReason: v1alpha1.ReasonRenewalFailed},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			config := testConfig()
			o := good()
			test.mutate(&o)
			o.report(&config.Status, config)
			conditions := config.Status.Conditions

			mark := cmp.Or(test.mark, v1alpha1.ConditionReady)
			for _, c := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionSuspended} {
				g.Expect(meta.FindStatusCondition(conditions, c) != nil).To(Equal(c == mark), c)
			}
			ready := meta.FindStatusCondition(conditions, mark)
			g.Expect(ready).NotTo(BeNil())
			g.Expect(ready.Status).To(Equal(test.ready))
			g.Expect(ready.Reason).To(Equal(test.reason))
			g.Expect(ready.ObservedGeneration).To(Equal(config.Generation))
			for _, c := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
				g.Expect(meta.FindStatusCondition(conditions, c) != nil).To(Equal(c == test.present), c)
			}
			if renewing := meta.FindStatusCondition(conditions, v1alpha1.ConditionRenewing); test.renewing == "" {
				g.Expect(renewing).To(BeNil())
			} else {
				g.Expect(renewing).NotTo(BeNil())
				g.Expect(renewing.Status).To(Equal(test.renewing))
				g.Expect(renewing.Reason).To(Equal(test.renewReason))
				g.Expect(renewing.Message).To(ContainSubstring(test.renewSentence))
			}

			again := config.DeepCopy()
			o.report(&again.Status, again)
			g.Expect(again.Status).To(Equal(config.Status), "the same world gives the same status, and so no write")
		})
	}
}

// TestNothingIsSaidOfAVaultThatWasNotAsked: Reachable is False only where Vault, or the way there, was tried.
func TestNothingIsSaidOfAVaultThatWasNotAsked(t *testing.T) {
	vault := []string{
		v1alpha1.ReasonVaultUnreachable, v1alpha1.ReasonTLSFailed, v1alpha1.ReasonVaultSealed, v1alpha1.ReasonVaultError, v1alpha1.ReasonRateLimited,
	}
	for _, reason := range vault {
		g := NewWithT(t)
		config, o := testConfig(), good()
		o.healthErr = fault.Transient(reason, "no")
		o.report(&config.Status, config)
		reachable := meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionReachable)
		g.Expect([]any{reachable.Status, reachable.Reason}).To(Equal([]any{metav1.ConditionFalse, reason}))
	}
	for _, reason := range []string{v1alpha1.ReasonInvalidSpec, v1alpha1.ReasonCredentialMissing, v1alpha1.ReasonNotAllowed, v1alpha1.ReasonInternal} {
		g := NewWithT(t)
		config, o := testConfig(), good()
		o.report(&config.Status, config)
		o.healthErr = &fault.Fault{Reason: reason, Problem: "no"}
		o.report(&config.Status, config)
		reachable := meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionReachable)
		g.Expect([]any{reachable.Status, reachable.Reason}).To(Equal([]any{metav1.ConditionUnknown, reason}))
		g.Expect(reachable.Message).To(Equal("the condition Ready says why"))
		g.Expect(config.Status.Vault).To(BeNil())
		g.Expect(meta.IsStatusConditionFalse(config.Status.Conditions, v1alpha1.ConditionReady)).To(BeTrue())

		// Where sys/health is hidden only a login shows, and there was none.
		o.healthErr, o.hidden, o.authErr = nil, true, &fault.Fault{Reason: reason, Problem: "no"}
		o.report(&config.Status, config)
		g.Expect(meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionReachable).Status).To(Equal(metav1.ConditionUnknown))
		o.hidden = false
		o.report(&config.Status, config)
		g.Expect(meta.IsStatusConditionTrue(config.Status.Conditions, v1alpha1.ConditionReachable)).To(BeTrue(), "sys/health answered")
		o.hidden, o.authErr = true, fault.Waiting(v1alpha1.ReasonAuthFailed, "no")
		o.report(&config.Status, config)
		g.Expect(meta.IsStatusConditionTrue(config.Status.Conditions, v1alpha1.ConditionReachable)).To(BeTrue(), "Vault answered the login")
	}
}

func TestALongSentenceIsToldOnce(t *testing.T) {
	g := NewWithT(t)
	const sentence = "a long sentence that says what is wrong, where, and how to cure it"
	for _, fail := range []func(*observation, *fault.Fault){
		func(o *observation, f *fault.Fault) { o.healthErr = f },
		func(o *observation, f *fault.Fault) { o.authErr = f },
	} {
		config, o := testConfig(), good()
		fail(&o, fault.Waiting(v1alpha1.ReasonAuthFailed, sentence))
		o.report(&config.Status, config)
		told := map[string]bool{}
		for _, c := range config.Status.Conditions {
			told[c.Type] = c.Message == sentence
			if c.Status != metav1.ConditionTrue {
				g.Expect(c.Reason).To(Equal(v1alpha1.ReasonAuthFailed), c.Type)
			}
		}
		g.Expect(told).To(And(HaveKeyWithValue(v1alpha1.ConditionReady, true), HaveKeyWithValue(v1alpha1.ConditionStalled, true)),
			"for people, and for tools that read Stalled alone")
		delete(told, v1alpha1.ConditionReady)
		delete(told, v1alpha1.ConditionStalled)
		g.Expect(told).To(HaveEach(false))

		o.enabled = false
		o.report(&config.Status, config)
		g.Expect(config.Status.Conditions).To(ContainElement(HaveField("Message", sentence)), "there is no Ready")
	}
}

func TestAVaultThatIsDownKeepsWhatWasKnownOfTheToken(t *testing.T) {
	g := NewWithT(t)
	config := testConfig()
	good().report(&config.Status, config)
	down := good()
	down.healthErr = fault.Transient(v1alpha1.ReasonVaultUnreachable, "no answer")
	down.report(&config.Status, config)
	g.Expect(config.Status.Token).NotTo(BeNil())
	g.Expect(meta.IsStatusConditionTrue(config.Status.Conditions, v1alpha1.ConditionAuthenticated)).To(BeTrue())
	g.Expect(config.Status.Vault).To(BeNil())
}

func TestTimesOfATokenThatIsRenewedEveryFewMinutesAreNotTold(t *testing.T) {
	g := NewWithT(t)
	for _, fromLogin := range []bool{false, true} {
		config, o := testConfig(), good()
		o.token.FromLogin = fromLogin
		o.report(&config.Status, config)
		g.Expect(config.Status.Token.ExpireTime).NotTo(BeNil())
		g.Expect(config.Status.Token.NextRenewalTime).NotTo(BeNil())

		o.token.CreationTTL = 9 * time.Minute
		o.report(&config.Status, config)
		g.Expect(*config.Status.Token).
			To(Equal(v1alpha1.TokenStatus{Renewable: true, Policies: []string{"default", "shop"}}))
		renewed := func(at time.Time) *v1alpha1.VaultConfigStatus {
			o.token.ExpireTime, o.token.LastRenewal, o.nextRenewal = at.Add(9*time.Minute), at, at.Add(6*time.Minute)
			o.report(&config.Status, config)
			return config.Status.DeepCopy()
		}
		first := renewed(now)
		g.Expect(first.Token.LastRenewalTime.Time).
			To(BeTemporally("==", now.Truncate(time.Second)), "that it is renewed at all shows")
		g.Expect(first.Token.ExpireTime).To(BeNil(), "it would be past when somebody reads it")
		g.Expect(renewed(now.Add(6*time.Minute))).To(Equal(first), "the next renewal is no reason to write")
		g.Expect(renewed(now.Add(12 * time.Minute)).Token.LastRenewalTime.Time).
			To(BeTemporally(">", now.Add(11*time.Minute)))

		o.renewErr = fault.Transient(v1alpha1.ReasonVaultError, "500")
		o.report(&config.Status, config)
		g.Expect(config.Status.Token.ExpireTime).NotTo(BeNil(), "now it matters when it dies")
	}
}

func TestEventsTellTransitionsOnly(t *testing.T) {
	g := NewWithT(t)
	config := testConfig()
	fresh := config.Status.DeepCopy()
	good().report(&config.Status, config)
	e, ok := transition(fresh.Conditions, config.Status.Conditions, v1alpha1.ConditionReady)
	g.Expect(ok).To(BeTrue())
	g.Expect(e.kind).To(Equal("Normal"))
	_, ok = transition(fresh.Conditions, config.Status.Conditions, v1alpha1.ConditionRenewing)
	g.Expect(ok).To(BeFalse(), "that a token is renewed is no news")

	before := config.Status.DeepCopy()
	later := good()
	later.token.ExpireTime = now.Add(2 * time.Hour)
	later.report(&config.Status, config)
	for _, c := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionRenewing} {
		_, ok = transition(before.Conditions, config.Status.Conditions, c)
		g.Expect(ok).To(BeFalse(), "a renewal is no transition")
	}

	later.token.MaxTTLReached = true
	later.report(&config.Status, config)
	e, ok = transition(before.Conditions, config.Status.Conditions, v1alpha1.ConditionRenewing)
	g.Expect(ok).To(BeTrue())
	g.Expect(e.kind).To(Equal("Warning"))
	g.Expect(e.reason).To(Equal(v1alpha1.ReasonMaxTTLReached))
}

func testConfig() *v1alpha1.VaultConfig {
	return builder.VaultConfig("shop", "main", builder.WithURL("https://vault:8200"),
		func(c *v1alpha1.VaultConfig) { c.Generation = 4 })
}

func TestPoliciesThatStatusHasNoRoomForAreLeftOut(t *testing.T) {
	g := NewWithT(t)
	many := []string{strings.Repeat("p", maxPolicyName+1)}
	for range maxPolicies + 1 {
		many = append(many, "policy")
	}
	reported := reportedPolicies(many)
	g.Expect(reported).To(HaveLen(maxPolicies))
	g.Expect(reported).To(HaveEach("policy"))
}

// TestLimitsAreToldBeforeTheyBite: what nobody can renew is in a condition of its own while it is so, with one event.
func TestLimitsAreToldBeforeTheyBite(t *testing.T) {
	for name, test := range map[string]struct {
		mutate           func(*auth.TokenInfo)
		reason, sentence string
	}{
		"tokens for a number of requests": {
			func(i *auth.TokenInfo) { i.FromLogin, i.NumUses = true, 5 }, v1alpha1.ReasonUseLimited, "a token for 5 requests",
		},
		"a secret ID for few logins": {
			func(i *auth.TokenInfo) { i.FromLogin, i.Logins = true, auth.Logins{Limited: true, Left: 3} },
			v1alpha1.ReasonUseLimited, "good for 3 more logins",
		},
		"batch tokens": {
			func(i *auth.TokenInfo) { i.FromLogin, i.Type = true, "batch" }, v1alpha1.ReasonLifeLimited, "batch token",
		},
		"an explicit max TTL": {
			func(i *auth.TokenInfo) { i.LatestEnd = now.Add(5 * time.Hour) }, v1alpha1.ReasonLifeLimited, "at the latest",
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			config := &v1alpha1.VaultConfig{}
			limited := good()
			test.mutate(&limited.token)
			before := config.DeepCopy()
			limited.report(&config.Status, config)
			found := meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionCredentialLimited)
			g.Expect(found).NotTo(BeNil())
			g.Expect(found.Reason).To(Equal(test.reason))
			g.Expect(found.Message).To(ContainSubstring(test.sentence))
			event, due := transition(
				before.Status.Conditions, config.Status.Conditions, v1alpha1.ConditionCredentialLimited,
			)
			g.Expect(due).To(BeTrue())
			g.Expect(event.kind).To(Equal(corev1.EventTypeWarning))
			after := config.DeepCopy()
			limited.report(&after.Status, after)
			_, due = transition(config.Status.Conditions, after.Status.Conditions, v1alpha1.ConditionCredentialLimited)
			g.Expect(due).To(BeFalse(), "one event")
			good().report(&config.Status, config)
			g.Expect(meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionCredentialLimited)).To(BeNil())
		})
	}
}
