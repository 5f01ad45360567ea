package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestAtLevelErrorIsWhatSomebodyMustActOn(t *testing.T) {
	connections := schema.GroupResource{Group: "sallyport.dev", Resource: "connections"}
	going := apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "e", errors.New("it is being terminated"))
	going.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for name, test := range map[string]struct {
		err   error
		level string
	}{
		"a user's mistake":             {reconcile.TerminalError(fault.Terminal(v1alpha1.ReasonInvalidSpec, "no")), "info"},
		"somebody's Vault":             {fault.In(fault.Transient(v1alpha1.ReasonVaultUnreachable, "no"), "Connection a/b"), "info"},
		"nobody knows what":            {fault.Transient(v1alpha1.ReasonInternal, "no"), "error"},
		"another error":                {errors.New("no"), "error"},
		"a conflict":                   {fmt.Errorf("writing: %w", apierrors.NewConflict(connections, "a", errors.New("modified"))), "debug"},
		"nobody waits any more":        {fmt.Errorf("reading: %w", context.Canceled), "debug"},
		"it took too long":             {fmt.Errorf("reading: %w", context.DeadlineExceeded), "error"},
		"another replica was first":    {apierrors.NewAlreadyExists(connections, "a"), "debug"},
		"a namespace that is going":    {going, "debug"},
		"a namespace that is gone":     {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "a"), "debug"},
		"something else that is gone":  {apierrors.NewNotFound(connections, "a"), "error"},
		"what the API server refuses":  {apierrors.NewForbidden(connections, "a", errors.New("no rights")), "error"},
		"what it says without details": {&apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonNotFound}}, "error"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for _, verbose := range []bool{false, true} {
				var written bytes.Buffer
				options := []zap.Opts{zap.WriteTo(&written), zap.UseDevMode(false)}
				if verbose {
					options = append(options, zap.Level(zapcore.Level(-maxVerbosity)))
				}
				newQuiet(zap.New(options...)).WithName("x").WithValues("k", "v").Error(test.err, "Reconciler error", "name", "a")
				if test.level == "debug" && !verbose {
					g.Expect(written.String()).To(BeEmpty())
					continue
				}
				g.Expect(written.String()).To(And(ContainSubstring(`"level":"%s"`, test.level), ContainSubstring(`"k":"v"`),
					ContainSubstring(`"name":"a"`), ContainSubstring(`"error":`)))
				g.Expect(bytes.Contains(written.Bytes(), []byte("stacktrace"))).To(Equal(test.level == "error"))
			}
		})
	}
}

// The manager says, while it stops as it was asked to, that it leads no more; lost in the middle of its work, the lead is
// an error.
func TestLeadershipGivenUpByAStopIsNoError(t *testing.T) {
	g := NewWithT(t)
	lost := errors.New("leader election lost")
	var written bytes.Buffer
	log := newQuiet(zap.New(zap.WriteTo(&written), zap.UseDevMode(false)))
	log.Error(lost, "error received after stop sequence was engaged")
	g.Expect(written.String()).To(BeEmpty())
	log.Error(errors.New("no"), "error received after stop sequence was engaged")
	log.Error(lost, "problem running manager")
	g.Expect(bytes.Count(written.Bytes(), []byte(`"level":"error"`))).To(Equal(2))
}

type marshalled struct{ times *int }

func (m marshalled) MarshalText() ([]byte, error) {
	*m.times++
	return []byte("value"), nil
}

func TestValuesOfALoggerCostNothingWithoutALine(t *testing.T) {
	g := NewWithT(t)
	var written bytes.Buffer
	times := 0
	log := newQuiet(zap.New(zap.WriteTo(&written), zap.UseDevMode(false))).WithValues("first", marshalled{&times}).WithName("x")
	other := log.WithValues("second", 2)
	log.V(1).Info("not written")
	g.Expect(times).To(BeZero())
	other.Info("one", "third", 3)
	log.Info("two")
	g.Expect(times).To(Equal(2))
	g.Expect(written.String()).To(MatchRegexp(`(?s)"logger":"x","msg":"one","first":"value","second":2,"third":3}.*"msg":"two","first":"value"}`))
}
