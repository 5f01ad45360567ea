// Package soundness looks whether a cluster can run Sallyport, and whether the Sallyport in it is whole: what an
// installation consists of, each part with what it must say. It only reads, but for reviews of access, which change
// nothing; what the user may not look at is Unknown.
package soundness

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/internal/cli/cluster"
	"sallyport.dev/sallyport/internal/cli/health"
)

// Finding is what was found of one thing.
type Finding struct {
	// Subject is what was looked at.
	Subject string `json:"subject"`
	health.Health
}

// Sick tells whether something is wrong.
func (f *Finding) Sick() bool { return f.State != health.Healthy && f.State != health.Unknown }

// checkup is one look at a cluster.
type checkup struct {
	*cluster.Cluster
	now time.Time
	// namespace is where Sallyport is installed, nodeNamespace where its node plugin is, and pods are those of its
	// controller, known after the first parts.
	namespace, nodeNamespace string
	pods                     []corev1.Pod
	// minor is the API server's, 37 for 1.37; clock is its time when it answered, or this machine's if it did not say.
	minor    int
	clock    time.Time
	findings []Finding
}

// Check looks at everything.
func Check(ctx context.Context, to *cluster.Cluster, now time.Time) ([]Finding, error) {
	c := &checkup{Cluster: to, now: now, clock: now, namespace: cluster.InstallNamespace}
	c.nodeNamespace = c.namespace
	for _, look := range []func(context.Context) error{
		c.apiServer, c.gates, c.kinds, c.policies, c.controller, c.certificates, c.nodePlugin, c.driver, c.nodes, c.rights,
		c.leader, c.vaults,
	} {
		if err := look(ctx); err != nil {
			return nil, err
		}
	}
	return c.findings, nil
}

// say notes a finding.
func (c *checkup) say(subject string, state health.State, format string, args ...any) {
	is := health.Health{State: state, Message: fmt.Sprintf(format, args...)}
	c.findings = append(c.findings, Finding{Subject: subject, Health: is})
}

// found tells whether something was found. What may not be looked at, and what is missing, is noted.
func (c *checkup) found(subject string, err error, missing string) (bool, error) {
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsForbidden(err):
		c.say(subject, health.Unknown, "you have no right to look at it")
		return false, nil
	case apierrors.IsNotFound(err):
		c.say(subject, health.Missing, "%s", missing)
		return false, nil
	default:
		return false, err
	}
}

// part selects what belongs to one of Sallyport's parts, wherever it is installed.
func part(name string) client.MatchingLabels {
	return client.MatchingLabels{"app.kubernetes.io/name": "sallyport", "app.kubernetes.io/component": name}
}
