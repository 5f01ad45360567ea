// Package diagnosis finds out why something is stuck: it follows a workload to its pods, a pod to its volumes, these to
// their Connections, VaultConfigs and Vaults, and names the first thing that is wrong, counted from Vault, because
// whatever stands before it waits for it. It only reads, with the user's own rights, and says of a thing what its
// status and its events say.
package diagnosis

import (
	"context"
	"fmt"
	"regexp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/internal/cli/health"
	"sallyport.dev/sallyport/internal/fault"
)

// Step is one thing on the way to Vault.
type Step struct {
	// Object is what sentences call it: Connection shop/db.
	Object string `json:"object"`
	health.Health
	// Details are versions and ages.
	Details []string `json:"details,omitempty"`
	// Depth is how far it is from what was asked about.
	Depth int `json:"-"`
}

func (s *Step) wrong() bool { return s.State != health.Healthy && s.State != health.Unknown }

func (s *Step) vague() bool { return s.State == health.Progressing && s.Reason == "" }

// Diagnosis is the way that was followed.
type Diagnosis struct {
	// Object is what was asked about.
	Object string `json:"object"`
	// Healthy: nothing on the way is wrong.
	Healthy bool `json:"healthy"`
	// Cause is the first thing that is wrong, counted from Vault.
	Cause *Step `json:"cause,omitempty"`
	// Cure is what the reference says of the cause's reason.
	Cure string `json:"cure,omitempty"`
	// Steps are all things on the way, from the object to Vault.
	Steps []*Step `json:"steps"`
}

// Inspection is one diagnosis under way.
type Inspection struct {
	objects client.Reader
	now     time.Time
	steps   []*Step
	depth   int
	// controller is what was found of Sallyport's own controller, once it was looked for.
	controller *Step
	looked     bool
}

// New returns an inspection that reads with objects.
func New(objects client.Reader, now time.Time) *Inspection {
	return &Inspection{objects: objects, now: now}
}

// Diagnose follows what key names from there to Vault.
func (i *Inspection) Diagnose(ctx context.Context, kind Kind, key client.ObjectKey) (*Diagnosis, error) {
	cause, err := kind.follow(ctx, i, key)
	if err != nil {
		return nil, err
	}
	found := &Diagnosis{Object: kind.Name + " " + key.String(), Healthy: cause == nil, Cause: cause, Steps: i.steps}
	if cause != nil {
		found.Cure = plain(fault.Cure(cause.Reason))
	}
	return found, nil
}

// visit adds a step, then follows what it depends on. It returns the first thing that is wrong there, or the step
// itself if that is wrong, or nil.
func (i *Inspection) visit(step *Step, on ...func() (*Step, error)) (*Step, error) {
	step.Depth = i.depth
	i.steps = append(i.steps, step)
	i.depth++
	defer func() { i.depth-- }()
	var first *Step
	for _, follow := range on {
		cause, err := follow()
		if err != nil {
			return nil, err
		}
		// Of a volume that waits no more is known than that, where the next one has a reason for both.
		if first == nil || cause != nil && first.vague() && !cause.vague() {
			first = cause
		}
	}
	if first == nil && step.wrong() {
		first = step
	}
	return first, nil
}

func (i *Inspection) age(of *metav1.Time) string { return duration.HumanDuration(i.now.Sub(of.Time)) }

func healthy(message string) health.Health {
	return health.Health{State: health.Healthy, Message: message}
}

func degraded(reason, format string, args ...any) health.Health {
	return health.Health{State: health.Degraded, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// link is a link in Markdown.
var link = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)

// plain is a text of the reference without its Markdown.
func plain(markdown string) string {
	text := []rune{}
	for _, r := range link.ReplaceAllString(markdown, "docs/$1") {
		if r != '`' {
			text = append(text, r)
		}
	}
	return string(text)
}
