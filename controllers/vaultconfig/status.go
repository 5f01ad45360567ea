package vaultconfig

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/status"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// minReportedTTL is the minimum TTL of a renewed token whose times status tells. Of one that lives shorter, a renewal
// is told now and then, so that status shows that there are any, and not more often than of the others.
const minReportedTTL = 10 * time.Minute

// observation is what one look at Vault and at the session found.
type observation struct {
	enabled, autoRenew bool
	// pending: Vault has not answered yet.
	pending bool
	// hidden: something in front of Vault does not let anybody ask how it is.
	hidden bool
	// workload: pods log in themselves, and the controller does not.
	workload    bool
	health      transport.Health
	healthErr   *fault.Fault
	authErr     *fault.Fault
	renewErr    *fault.Fault
	refused     session.Refused
	token       auth.TokenInfo
	nextRenewal time.Time
}

// fault returns what keeps the VaultConfig from being used or its token from being kept, or nil.
func (o observation) fault() *fault.Fault {
	for _, f := range []*fault.Fault{o.healthErr, o.authErr, o.renewErr} {
		if f != nil {
			return f
		}
	}
	return nil
}

// report writes the observation into a status. It is a pure function of its arguments, so that an unchanged world gives
// an unchanged status and no write.
func (o observation) report(s *v1alpha1.VaultConfigStatus, config *v1alpha1.VaultConfig) {
	s.ObservedGeneration = config.Generation
	s.AuthMethod = auth.MethodName(&config.Spec.Auth)
	o.reportReachable(s, config)
	o.reportAuthenticated(s, config)
	o.reportRefused(s)
	o.reportToken(s)
	o.reportRenewing(s, config)
	o.reportLimits(s, config)
	o.reportReady(s, config)
}

// toldByReady is the fault for a condition beside Ready, which has the sentence: kubectl describe would repeat it as
// often as there are conditions. Of a disabled VaultConfig, which has no Ready, it is told here.
func (o observation) toldByReady(f *fault.Fault) *fault.Fault {
	if !o.enabled {
		return f
	}
	return &fault.Fault{Reason: f.Reason, Class: f.Class, Problem: "the condition Ready says why"}
}

// reportLimits tells the limits of a credential before they bite, and what to do about them.
func (o observation) reportLimits(s *v1alpha1.VaultConfigStatus, config *v1alpha1.VaultConfig) {
	if o.healthErr != nil || o.authErr != nil {
		return // what was known last stands
	}
	reason, limit := o.limit()
	if limit == "" {
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionCredentialLimited)
		return
	}
	status.True(&s.Conditions, config.Generation, v1alpha1.ConditionCredentialLimited, reason, limit)
}

// limit is the nearest limit of the credential that nobody can renew; empty if there is none, or Renewing tells it.
func (o observation) limit() (reason, sentence string) {
	t := o.token
	switch {
	case t.FromLogin && t.NumUses > 0:
		return v1alpha1.ReasonUseLimited, fmt.Sprintf("each login makes a token for %d requests, and a new login follows: "+
			"no dynamic secret is made with it; set token_num_uses=0 in the role", t.NumUses)
	case t.Logins.Limited:
		return v1alpha1.ReasonUseLimited, fmt.Sprintf("the secret ID is good for %d more logins: each replica of the controller "+
			"needs one when it starts, and whenever its token cannot be renewed; use one without limit (secret_id_num_uses=0)",
			t.Logins.Left)
	case t.FromLogin && t.Type == "batch":
		return v1alpha1.ReasonLifeLimited, "each login makes a batch token, which cannot be renewed: " +
			"a dynamic secret ends with the one that it was made with; set token_type=service in the role"
	case !t.LatestEnd.IsZero() && !t.MaxTTLReached:
		return v1alpha1.ReasonLifeLimited, fmt.Sprintf("the token dies at %s at the latest, however often it is renewed: "+
			"its explicit max TTL", t.LatestEnd.UTC().Format(time.RFC3339))
	}
	return "", ""
}

// beforeVault are the reasons of faults that are found before Vault is asked: in the VaultConfig, in what it refers to,
// or in Kubernetes. They say nothing of Vault.
var beforeVault = []string{
	v1alpha1.ReasonInvalidSpec, v1alpha1.ReasonCredentialMissing, v1alpha1.ReasonNotAllowed, v1alpha1.ReasonInternal,
}

// unasked is the fault that kept Vault from being asked; nil if it was.
func (o observation) unasked() *fault.Fault {
	f := o.healthErr
	if f == nil && o.hidden { // only a login would have shown
		f = o.authErr
	}
	if f == nil || !slices.Contains(beforeVault, f.Reason) {
		return nil
	}
	return f
}

func (o observation) reportReachable(s *v1alpha1.VaultConfigStatus, config *v1alpha1.VaultConfig) {
	if f := o.unasked(); f != nil {
		status.Unknown(&s.Conditions, config.Generation, v1alpha1.ConditionReachable, o.toldByReady(f))
		s.Vault = nil
		return
	}
	if o.healthErr != nil {
		status.False(&s.Conditions, config.Generation, v1alpha1.ConditionReachable, o.toldByReady(o.healthErr))
		if o.healthErr.Reason != v1alpha1.ReasonVaultSealed {
			s.Vault = nil
			return
		}
	} else {
		status.True(&s.Conditions, config.Generation, v1alpha1.ConditionReachable, v1alpha1.ReasonSucceeded, o.reached())
	}
	if o.hidden {
		s.Vault = nil
		return
	}
	s.Vault = &v1alpha1.VaultStatus{Version: o.health.Version, Sealed: o.health.Sealed,
		ClusterName: o.health.ClusterName}
}

// notKnown says what is not known of a Vault whose health is hidden.
const notKnown = "its version, its cluster's name and whether one of its nodes is sealed are not known: " +
	"what stands in front of it does not let sys/health through"

// reached says what is known of a Vault that serves, and what is not.
func (o observation) reached() string {
	switch {
	case o.hidden && o.workload:
		return "Vault answers at the path of logins; " + notKnown
	case o.hidden:
		return "Vault answers logins; " + notKnown
	}
	return "Vault answers and is unsealed"
}

func (o observation) reportAuthenticated(s *v1alpha1.VaultConfigStatus, config *v1alpha1.VaultConfig) {
	switch {
	case o.healthErr != nil:
		// Whether the token is still good cannot be known; what was known last is kept, so that a blip does not look
		// like a rejected credential.
		if meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionAuthenticated) == nil {
			status.Unknown(&s.Conditions, config.Generation, v1alpha1.ConditionAuthenticated, o.toldByReady(o.healthErr))
		}
	case o.authErr != nil:
		status.False(&s.Conditions, config.Generation, v1alpha1.ConditionAuthenticated, o.toldByReady(o.authErr))
	case o.workload:
		status.Unknown(&s.Conditions, config.Generation, v1alpha1.ConditionAuthenticated,
			fault.Waiting(v1alpha1.ReasonWorkloadIdentity,
				"each pod that mounts a Connection logs in with its own service account; whether Vault accepts it shows there"))
	default:
		message := "Vault accepts the token"
		if o.token.FromLogin {
			message = "Vault accepts the login"
		}
		status.True(&s.Conditions, config.Generation, v1alpha1.ConditionAuthenticated, v1alpha1.ReasonSucceeded,
			message)
	}
}

// reportRefused tells other replicas, and the next process, what was refused.
func (o observation) reportRefused(s *v1alpha1.VaultConfigStatus) {
	switch {
	case o.healthErr != nil, o.authErr != nil && o.refused.Time.IsZero():
		// Nothing new is known: it may have been another process that was refused.
	case o.authErr == nil || o.refused.Time.IsZero():
		s.RefusedLogin = nil
	default:
		s.RefusedLogin = &v1alpha1.RefusedLogin{
			Time: status.Time(o.refused.Time), SecretVersion: o.refused.SecretVersion,
		}
	}
}

func (o observation) reportToken(s *v1alpha1.VaultConfigStatus) {
	if o.healthErr != nil {
		return
	}
	if o.authErr != nil || o.workload {
		s.Token = nil
		return
	}
	former := s.Token
	s.Token = &v1alpha1.TokenStatus{Renewable: o.token.Renewable, Policies: reportedPolicies(o.token.Policies)}
	if o.shortLived() {
		s.Token.LastRenewalTime = reportedRenewal(former, status.Time(o.token.LastRenewal))
		return
	}
	s.Token.ExpireTime = status.Time(o.token.ExpireTime)
	s.Token.LastRenewalTime = status.Time(o.token.LastRenewal)
	s.Token.MaxTTLReached = o.token.MaxTTLReached
	if o.autoRenew {
		s.Token.NextRenewalTime = status.Time(o.nextRenewal)
	}
}

// reportedRenewal is the time of renewal in status for a short-lived token: the latest if there is none yet, or that
// one is old by now.
func reportedRenewal(former *v1alpha1.TokenStatus, latest *metav1.Time) *metav1.Time {
	if former == nil || former.LastRenewalTime == nil {
		return latest
	}
	if reported := former.LastRenewalTime; latest == nil || latest.Sub(reported.Time) < minReportedTTL {
		return reported
	}
	return latest
}

// shortLived tells whether a token is kept alive and lives so short that its times are not reported: that would be a
// write to the API server every few minutes, of a time that is past when somebody reads it.
func (o observation) shortLived() bool {
	keptAlive := o.autoRenew && o.renewErr == nil && (o.token.FromLogin || o.token.Renewable && !o.token.MaxTTLReached)
	return keptAlive && !o.token.ExpireTime.IsZero() && o.token.CreationTTL < minReportedTTL
}

func (o observation) reportRenewing(s *v1alpha1.VaultConfigStatus, config *v1alpha1.VaultConfig) {
	switch {
	case o.healthErr != nil:
		return
	case o.authErr != nil:
		status.Unknown(&s.Conditions, config.Generation, v1alpha1.ConditionRenewing, o.toldByReady(o.authErr))
		return
	case o.workload:
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionRenewing)
		return
	}
	if renewing, f := o.renewing(config); renewing {
		status.True(&s.Conditions, config.Generation, v1alpha1.ConditionRenewing, f.Reason, f.Message())
	} else {
		status.False(&s.Conditions, config.Generation, v1alpha1.ConditionRenewing, f)
	}
}

// renewing tells whether the token is kept alive, and why or why not.
func (o observation) renewing(config *v1alpha1.VaultConfig) (bool, *fault.Fault) {
	because := fault.Waiting
	death := o.token.ExpireTime.UTC().Format(time.RFC3339)
	switch {
	case o.token.Opaque:
		return false, because(v1alpha1.ReasonLookupDenied,
			"the token is not renewed, and when it dies is not known: its policies do not let it look itself up").
			WithRemedy("give it Vault's policy \"default\", or put another token into %s", credential(config))
	case o.token.NumUses > 0 && !o.token.FromLogin:
		return false, because(v1alpha1.ReasonUseLimited,
			"the token dies when its uses are used up, and every request is one: put one without num_uses into %s", credential(config))
	case o.token.ExpireTime.IsZero():
		return true, because(v1alpha1.ReasonNeverExpires, "the token never expires, so nothing needs to be renewed")
	case o.renewErr != nil && o.token.FromLogin:
		return false, because(v1alpha1.ReasonRenewalFailed, "the token dies at %s if it cannot be renewed or replaced: %s",
			death, o.renewErr.Message())
	case o.token.FromLogin && !o.autoRenew:
		return false, because(v1alpha1.ReasonRenewalDisabled,
			"a new login follows when the token is dead: spec.autoRenew is false%s", o.unknownLogins())
	case o.token.FromLogin:
		return true, because(v1alpha1.ReasonRenewed,
			"the token is renewed, or replaced by a new login, before it expires%s", o.unknownLogins())
	case o.token.MaxTTLReached:
		return false, because(v1alpha1.ReasonMaxTTLReached, "the token dies at %s: its max TTL allows no further renewal", death).
			WithRemedy("put a new token into %s before that", credential(config))
	case !o.token.Renewable:
		return false, because(v1alpha1.ReasonNotRenewable, "the token dies at %s: Vault made it not renewable", death).
			WithRemedy("put a new token into %s before that", credential(config))
	case !o.autoRenew:
		return false, because(v1alpha1.ReasonRenewalDisabled, "the token dies at %s: spec.autoRenew is false", death)
	case o.renewErr != nil:
		return false, because(v1alpha1.ReasonRenewalFailed, "the token dies at %s if it cannot be renewed: %s",
			death, o.renewErr.Message())
	}
	return true, because(v1alpha1.ReasonRenewed, "the token is renewed before it expires")
}

// unknownLogins says, after a sentence that promises another login, that nobody knows whether there can be one; empty
// if Vault told. No condition of its own, and no event: of most secret IDs the number of uses is not limited.
func (o observation) unknownLogins() string {
	switch logins := o.token.Logins; {
	case !logins.Unknown:
		return ""
	case logins.Denied != "":
		return fmt.Sprintf(`; whether the secret ID is good for another login is not known: for that to be told here, `+
			`let the role's policy "update" %s`, logins.Denied)
	}
	return "; whether the secret ID is good for another login is not known"
}

func (o observation) reportReady(s *v1alpha1.VaultConfigStatus, config *v1alpha1.VaultConfig) {
	switch {
	case !o.enabled:
		status.Off(&s.Conditions, config.Generation, fault.Waiting(v1alpha1.ReasonConfigDisabled,
			"the VaultConfig is disabled: every new use is refused until spec.enabled is true"))
	case o.healthErr != nil:
		status.NotReady(&s.Conditions, config.Generation, o.healthErr)
	case o.authErr != nil:
		status.NotReady(&s.Conditions, config.Generation, o.authErr)
	case o.workload && o.hidden:
		status.Ready(&s.Conditions, config.Generation,
			"Vault answers at the path of logins; each pod that mounts a Connection logs in with its own service account; "+
				"version, cluster and seal are not known: what stands in front of Vault does not let sys/health through")
	case o.workload:
		status.Ready(&s.Conditions, config.Generation, "Vault answers; each pod that mounts a Connection logs in with its own service account")
	case o.hidden:
		status.Ready(&s.Conditions, config.Generation,
			"Vault accepts the login; version, cluster and seal are not known: what stands in front of it does not let sys/health through")
	case o.token.FromLogin:
		status.Ready(&s.Conditions, config.Generation, "Vault answers and accepts the login")
	default:
		status.Ready(&s.Conditions, config.Generation, "Vault answers and accepts the token")
	}
}

// credential names where the token comes from, for sentences.
func credential(config *v1alpha1.VaultConfig) string {
	if token := config.Spec.Auth.Token; token != nil {
		return fmt.Sprintf("Secret %s/%s, key %q", config.Namespace, token.SecretKeyRef.Name, token.SecretKeyRef.Key)
	}
	return "the configured Secret"
}

// maxPolicies and maxPolicyName bound the token's policies in status: they are Vault's, and there may be any number.
const (
	maxPolicies   = auth.MaxPolicies
	maxPolicyName = 256
)

// reportedPolicies are the policies that status has room for.
func reportedPolicies(all []string) []string {
	reported := make([]string, 0, min(len(all), maxPolicies))
	for _, policy := range all {
		if len(reported) < maxPolicies && len(policy) <= maxPolicyName {
			reported = append(reported, policy)
		}
	}
	return reported
}
