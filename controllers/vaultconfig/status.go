package vaultconfig

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/status"
	"sallyport.dev/sallyport/internal/vault"
)

// observation is what one look at Vault and at the session found.
type observation struct {
	enabled, autoRenew bool
	health             vault.Health
	healthErr          *fault.Fault
	authErr            *fault.Fault
	renewErr           *fault.Fault
	token              vault.TokenInfo
	nextRenewal        time.Time
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

// report writes the observation into a status. It is a pure function of its arguments, so that an unchanged world gives an
// unchanged status and no write.
func (o observation) report(s *v1alpha1.VaultConfigStatus, config *v1alpha1.VaultConfig) {
	s.ObservedGeneration = config.Generation
	s.AuthMethod = authMethod(config)
	o.reportReachable(s, config)
	o.reportAuthenticated(s, config)
	o.reportToken(s)
	o.reportRenewing(s, config)
	o.reportReady(s, config)
}

func (o observation) reportReachable(s *v1alpha1.VaultConfigStatus, config *v1alpha1.VaultConfig) {
	if o.healthErr != nil {
		status.False(&s.Conditions, config.Generation, v1alpha1.ConditionReachable, o.healthErr)
		if o.healthErr.Reason != v1alpha1.ReasonVaultSealed {
			s.Vault = nil
			return
		}
	} else {
		status.True(&s.Conditions, config.Generation, v1alpha1.ConditionReachable, v1alpha1.ReasonSucceeded, "Vault answers and is unsealed")
	}
	s.Vault = &v1alpha1.VaultStatus{Version: o.health.Version, Sealed: o.health.Sealed, ClusterName: o.health.ClusterName}
}

func (o observation) reportAuthenticated(s *v1alpha1.VaultConfigStatus, config *v1alpha1.VaultConfig) {
	switch {
	case o.healthErr != nil:
		// Whether the token is still good cannot be known; what was known last is kept, so that a blip does not look like a
		// rejected credential.
		if meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionAuthenticated) == nil {
			status.Unknown(&s.Conditions, config.Generation, v1alpha1.ConditionAuthenticated, o.healthErr)
		}
	case o.authErr != nil:
		status.False(&s.Conditions, config.Generation, v1alpha1.ConditionAuthenticated, o.authErr)
	default:
		status.True(&s.Conditions, config.Generation, v1alpha1.ConditionAuthenticated, v1alpha1.ReasonSucceeded, "Vault accepts the token")
	}
}

func (o observation) reportToken(s *v1alpha1.VaultConfigStatus) {
	if o.healthErr != nil {
		return
	}
	if o.authErr != nil {
		s.Token = nil
		return
	}
	s.Token = &v1alpha1.TokenStatus{
		ExpireTime:      status.Time(o.token.ExpireTime),
		Renewable:       o.token.Renewable,
		Policies:        o.token.Policies,
		LastRenewalTime: status.Time(o.token.LastRenewal),
		MaxTTLReached:   o.token.MaxTTLReached,
	}
	if o.autoRenew {
		s.Token.NextRenewalTime = status.Time(o.nextRenewal)
	}
}

func (o observation) reportRenewing(s *v1alpha1.VaultConfigStatus, config *v1alpha1.VaultConfig) {
	if o.healthErr != nil {
		return
	}
	if o.authErr != nil {
		status.Unknown(&s.Conditions, config.Generation, v1alpha1.ConditionRenewing, o.authErr)
		return
	}
	renewing := func(ok bool, reason, format string, args ...any) {
		f := fault.Wait(reason, format, args...)
		if ok {
			status.True(&s.Conditions, config.Generation, v1alpha1.ConditionRenewing, f.Reason, f.Sentence)
		} else {
			status.False(&s.Conditions, config.Generation, v1alpha1.ConditionRenewing, f)
		}
	}
	death := o.token.ExpireTime.UTC().Format(time.RFC3339)
	switch {
	case o.token.Opaque:
		renewing(false, v1alpha1.ReasonLookupDenied, "the token is not renewed, and when it dies is not known: its policies do not let it look itself up; "+
			"give it Vault's policy \"default\", or put another token into %s", credential(config))
	case o.token.ExpireTime.IsZero():
		renewing(true, v1alpha1.ReasonNeverExpires, "the token never expires, so nothing needs to be renewed")
	case o.token.MaxTTLReached:
		renewing(false, v1alpha1.ReasonMaxTTLReached, "the token dies at %s: its max TTL allows no further renewal; put a new token into %s before that", death, credential(config))
	case !o.token.Renewable:
		renewing(false, v1alpha1.ReasonNotRenewable, "the token dies at %s: Vault made it not renewable; put a new token into %s before that", death, credential(config))
	case !o.autoRenew:
		renewing(false, v1alpha1.ReasonRenewalDisabled, "the token dies at %s: spec.autoRenew is false", death)
	case o.renewErr != nil:
		renewing(false, v1alpha1.ReasonRenewalFailed, "the token dies at %s if it cannot be renewed: %s", death, o.renewErr.Sentence)
	default:
		renewing(true, v1alpha1.ReasonRenewed, "the token is renewed before it expires")
	}
}

func (o observation) reportReady(s *v1alpha1.VaultConfigStatus, config *v1alpha1.VaultConfig) {
	switch {
	case !o.enabled:
		status.Off(&s.Conditions, config.Generation, fault.Wait(v1alpha1.ReasonConfigDisabled,
			"the VaultConfig is disabled: every new use is refused until spec.enabled is true"))
	case o.healthErr != nil:
		status.NotReady(&s.Conditions, config.Generation, o.healthErr)
	case o.authErr != nil:
		status.NotReady(&s.Conditions, config.Generation, o.authErr)
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

func authMethod(config *v1alpha1.VaultConfig) string {
	if config.Spec.Auth.Token != nil {
		return "token"
	}
	return ""
}
