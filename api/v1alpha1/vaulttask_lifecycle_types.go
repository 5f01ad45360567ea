package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TaskLifecycle says when a task runs and when it is given up, in the words of Jobs and CronJobs.
type TaskLifecycle struct {
	// suspend holds a run that has not begun, and all runs of a schedule. A call that is under way is brought to its
	// end.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`

	// schedule runs the task again and again.
	// +optional
	Schedule *TaskSchedule `json:"schedule,omitempty"`

	// backoffLimit is how often a run is tried again after Vault did not answer, or failed itself; without it there is
	// no limit. An effect is never repeated, whatever this says.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	BackoffLimit *int32 `json:"backoffLimit,omitempty"`

	// activeDeadlineSeconds is how long a run may take, waiting included; without it, for ever.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`

	// ttlSecondsAfterFinished is when a finished task is deleted; without it, never. One that Argo CD, Flux or Helm would
	// create anew stays, unless it is a hook.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`
}

// TaskSchedule is when a task runs. A run that is due while another is under way comes after it; of those that were
// missed only the latest is made up for.
type TaskSchedule struct {
	// cron is the schedule in cron's five fields, or @hourly and the like; @every 90s and the like from a minute on.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="!self.contains('TZ=')",message="the time zone goes into timeZone; remove TZ= from cron"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('@every ') || (self.substring(7).matches('^(0|([0-9]+([.][0-9]+)?(h|m|s|ms|us|ns))+)$') && duration(self.substring(7)) >= duration('1m'))",message="a schedule runs once a minute at most; write @every with 1m or longer, in the units h, m and s: @every 90s"
	// +kubebuilder:validation:XValidation:rule="self.contains('TZ=') || self.startsWith('@every ') || self in ['@hourly', '@daily', '@midnight', '@weekly', '@monthly', '@yearly', '@annually'] || self.matches('^[^!-~]*([!-~]+[^!-~]+){4}[!-~]+[^!-~]*$')",message="write cron's five fields, minute hour day month weekday, such as 0 3 * * *; or @hourly, @daily, @weekly, @monthly, @yearly, or @every 90s"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^!-~]*([!-~]+[^!-~]+){4}[!-~]+[^!-~]*$') || !self.matches('^[^!-~]*([!-~]+[^!-~]+){0}([!-~]*,)?([0-9A-Za-z+]+-)?([+]?0*([6-9][0-9]|[1-9][0-9][0-9]+)|[A-Za-z]+)([-,/]|[^!-~]|$)')",message="the first field of cron is the minute: write 0 to 59, as in 0 3 * * *"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^!-~]*([!-~]+[^!-~]+){4}[!-~]+[^!-~]*$') || !self.matches('^[^!-~]*([!-~]+[^!-~]+){1}([!-~]*,)?([0-9A-Za-z+]+-)?([+]?0*(2[4-9]|[3-9][0-9]|[1-9][0-9][0-9]+)|[A-Za-z]+)([-,/]|[^!-~]|$)')",message="the second field of cron is the hour: write 0 to 23, as in 0 3 * * *"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^!-~]*([!-~]+[^!-~]+){4}[!-~]+[^!-~]*$') || !self.matches('^[^!-~]*([!-~]+[^!-~]+){2}([!-~]*,)?([0-9A-Za-z+]+-)?([+]?0*(0|3[2-9]|[4-9][0-9]|[1-9][0-9][0-9]+)|[A-Za-z]+)([-,/]|[^!-~]|$)')",message="the third field of cron is the day of the month: write 1 to 31, as in 0 3 * * *"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^!-~]*([!-~]+[^!-~]+){4}[!-~]+[^!-~]*$') || !self.matches('^[^!-~]*([!-~]+[^!-~]+){3}([!-~]*,)?([0-9A-Za-z+]+-)?([+]?0*(0|1[3-9]|[2-9][0-9]|[1-9][0-9][0-9]+)|[A-Za-z]{4,})([-,/]|[^!-~]|$)')",message="the fourth field of cron is the month: write 1 to 12, or jan to dec, as in 0 3 * * *"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[^!-~]*([!-~]+[^!-~]+){4}[!-~]+[^!-~]*$') || !self.matches('^[^!-~]*([!-~]+[^!-~]+){4}([!-~]*,)?([0-9A-Za-z+]+-)?([+]?0*([7-9]|[1-9][0-9]+)|[A-Za-z]{4,})([-,/]|[^!-~]|$)')",message="the fifth field of cron is the day of the week: write 0 to 6 from Sunday on, or sun to sat, as in 0 3 * * *"
	Cron string `json:"cron,omitempty"`

	// timeZone that cron is meant in, such as Europe/Berlin; UTC if not set.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	TimeZone string `json:"timeZone,omitempty"`

	// startingDeadlineSeconds is how late a run may begin; a later one is left out. Without it a missed run is made up
	// for however late it is.
	// +optional
	// +kubebuilder:validation:Minimum=1
	StartingDeadlineSeconds *int64 `json:"startingDeadlineSeconds,omitempty"`

	// successfulHistoryLimit is how many successful runs status.history keeps; 3 if not set.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	SuccessfulHistoryLimit *int32 `json:"successfulHistoryLimit,omitempty"`

	// failedHistoryLimit is how many failed runs status.history keeps; 1 if not set.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	FailedHistoryLimit *int32 `json:"failedHistoryLimit,omitempty"`
}

// TaskResultRequest says how the values can be had: those that were read, those that were written, or Vault's answer.
//
// +kubebuilder:validation:ExactlyOneOf=sealTo;wrap
type TaskResultRequest struct {
	// sealTo is an age recipient (age1…), as age-keygen prints it. The values are put into status.result.sealed,
	// encrypted so that only the owner of that key can read them.
	// +optional
	// +kubebuilder:validation:MaxLength=62
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:XValidation:rule="self.matches('^age1[02-9ac-hj-np-z]{58}$')",message="sealTo must be the public key of an age key pair, as age-keygen prints it: age1 and 58 more characters"
	SealTo string `json:"sealTo,omitempty"`

	// wrap puts a response-wrapping token for the values into status.result.wrapped. Whoever reads it first has the
	// values, so that the VaultConfig must allow it: allowWrappedResults.
	// +optional
	Wrap *WrapRequest `json:"wrap,omitempty"`
}

// WrapRequest is about a response-wrapping token.
type WrapRequest struct {
	// ttl is how long the token can be unwrapped: from 10s to 24h, written as numbers with the units h, m or s.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.matches('^(0|([0-9]+([.][0-9]+)?(h|m|s|ms|us|ns))+)$')",message="write ttl as numbers with the units h, m, s or ms, such as 90s, 5m or 1h30m; there is no unit for days: 24h"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(0|([0-9]+([.][0-9]+)?(h|m|s|ms|us|ns))+)$') || (duration(self) >= duration('10s') && duration(self) <= duration('24h'))",message="ttl must be between 10s and 24h"
	TTL *metav1.Duration `json:"ttl,omitempty"`
}
