package app

import (
	"context"
	"errors"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// quietSink writes at level error only what somebody who runs Sallyport must act on. The libraries' lines about
// everything that a reconciler returns come to it, too: users' mistakes and their Vaults' failures, which are written
// without a stack trace, for status and events say the same to whom they concern; and what is as it should be, such as
// a conflict that another attempt settles, another replica that was the first to make something, a request to the API
// server that nobody waits for any more, or leadership given up by a stop, which is written with more verbosity only.
//
// The values that loggers are given are handed on with a line, and cost nothing where there is none: controller-runtime
// gives some to a logger of its own for each of ten thousand Connections, every minute.
type quietSink struct {
	logr.LogSink
	values []any
}

// newQuiet returns a logger that writes as another one does, but for that.
func newQuiet(log logr.Logger) logr.Logger {
	sink := log.GetSink()
	if deep, ok := sink.(logr.CallDepthLogSink); ok {
		sink = deep.WithCallDepth(1)
	}
	return logr.New(quietSink{LogSink: sink})
}

// Error implements logr.LogSink.
func (s quietSink) Error(err error, message string, keysAndValues ...any) {
	f, isFault := errors.AsType[*fault.Fault](err)
	switch {
	case isFault && f.Reason != v1alpha1.ReasonInternal:
		s.info(0, err, message, append(keysAndValues, "reason", f.Reason))
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), namespaceIsGoing(err),
		errors.Is(err, context.Canceled), leadershipGivenUp(err, message):
		s.info(1, err, message, keysAndValues)
	default:
		s.LogSink.Error(err, message, s.with(keysAndValues)...)
	}
}

// Info implements logr.LogSink.
func (s quietSink) Info(level int, message string, keysAndValues ...any) {
	s.LogSink.Info(level, message, s.with(keysAndValues)...)
}

// with returns all values of a line: those of the logger come first.
func (s quietSink) with(keysAndValues []any) []any { return slices.Concat(s.values, keysAndValues) }

func (s quietSink) info(level int, err error, message string, keysAndValues []any) {
	if s.Enabled(level) {
		s.Info(level, message, append(keysAndValues, "error", err.Error())...)
	}
}

// namespaceIsGoing tells whether something could not be made, an event say, because its namespace is being deleted.
func namespaceIsGoing(err error) bool {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return true
	}
	refusal, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && apierrors.IsNotFound(err) && refusal.ErrStatus.Details != nil &&
		refusal.ErrStatus.Details.Kind == "namespaces"
}

// leadershipGivenUp tells whether the manager says that it leads no more because it stops, as it was asked to: whoever
// loses the lead while it works ends with the same error, under another message.
func leadershipGivenUp(err error, message string) bool {
	return err != nil && err.Error() == "leader election lost" &&
		message == "error received after stop sequence was engaged"
}

// WithValues implements logr.LogSink.
func (s quietSink) WithValues(keysAndValues ...any) logr.LogSink {
	return quietSink{s.LogSink, s.with(keysAndValues)}
}

// WithName implements logr.LogSink.
func (s quietSink) WithName(name string) logr.LogSink {
	return quietSink{s.LogSink.WithName(name), s.values}
}

// WithCallDepth implements logr.CallDepthLogSink.
func (s quietSink) WithCallDepth(depth int) logr.LogSink {
	if deep, ok := s.LogSink.(logr.CallDepthLogSink); ok {
		return quietSink{deep.WithCallDepth(depth), s.values}
	}
	return s
}
