package tracing

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/printable"
)

// Key is what a span may tell, by the conventions of OpenTelemetry where it has a name for it.
type Key string

// All keys that there are.
const (
	Namespace  Key = "k8s.namespace.name"
	Pod        Key = "k8s.pod.name"
	Node       Key = "k8s.node.name"
	Connection Key = "sallyport.connection"
	// Object is the one that a request or a reconcile is about: VaultConfig shop/prod.
	Object Key = "sallyport.object"
	// Reason is that of the fault which ended it.
	Reason Key = "sallyport.reason"

	statusCode = "http.response.status_code"
)

// maxText is what a kind and the longest name with its namespace take.
const maxText = 350

// Kind says which side of a call a span is.
type Kind = trace.SpanKind

// The kinds.
const (
	Internal = trace.SpanKindInternal
	Client   = trace.SpanKindClient
	Server   = trace.SpanKindServer
)

// Span is something that takes time. The zero value is one that nobody wants to know of.
type Span struct{ span trace.Span }

type tracerKey struct{}

// Tracer is what makes spans of the contexts that carry it.
type Tracer struct{ tracer trace.Tracer }

// Of returns the tracer of a context, for others that do not come from it, such as those of a server's requests.
func Of(ctx context.Context) Tracer {
	tracer, _ := ctx.Value(tracerKey{}).(trace.Tracer)
	return Tracer{tracer}
}

// Context returns a context that carries the tracer; the same if there is none.
func (t Tracer) Context(ctx context.Context) context.Context {
	if t.tracer == nil {
		return ctx
	}
	return context.WithValue(ctx, tracerKey{}, t.tracer)
}

// Start begins a span with a name of these words, below the one that ctx carries.
func Start(ctx context.Context, kind Kind, words ...string) (context.Context, Span) {
	tracer, on := ctx.Value(tracerKey{}).(trace.Tracer)
	if !on {
		return ctx, Span{}
	}
	ctx, span := tracer.Start(ctx, strings.Join(words, " "), trace.WithSpanKind(kind))
	return ctx, Span{span}
}

// Set says something of the span. An empty text says nothing.
func (s Span) Set(key Key, text string) {
	if s.span != nil && text != "" {
		s.span.SetAttributes(attribute.String(string(key), printable.Text(text, maxText)))
	}
}

// About names the object that the span is about.
func (s Span) About(object fault.Subject) {
	if s.span != nil && object != (fault.Subject{}) {
		s.Set(Object, object.String())
	}
}

// Status says with which status a request was answered; 0: it was not.
func (s Span) Status(code int) {
	if s.span != nil && code != 0 {
		s.span.SetAttributes(attribute.Int(statusCode, code))
	}
}

// Sent says that a request was sent only now, after it had waited.
func (s Span) Sent() {
	if s.span != nil {
		s.span.AddEvent("sent")
	}
}

// End ends the span. Of an error it tells the reason alone: the sentence can name a path.
func (s Span) End(err error) {
	switch {
	case s.span == nil:
	case err == nil:
		s.span.End()
	default:
		s.EndIn(fault.From(err))
	}
}

// EndIn is End for a fault, nil where there is none.
func (s Span) EndIn(f *fault.Fault) {
	if s.span == nil {
		return
	}
	if f != nil {
		s.Set(Reason, f.Reason)
		s.span.SetStatus(codes.Error, f.Reason)
	}
	s.span.End()
}
