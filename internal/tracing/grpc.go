package tracing

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"
)

// parentKey is the one header that says which trace a call belongs to (W3C Trace Context). What else a trace can carry,
// tracestate and baggage, is neither sent nor read.
const parentKey = "traceparent"

// Outgoing has a gRPC call carry the span of ctx.
func Outgoing(ctx context.Context) context.Context {
	carried := Parent(ctx)
	if carried == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, parentKey, carried)
}

// Parent is the span of ctx as the header says it, for a message that travels with others; empty without one.
func Parent(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ""
	}
	carrier := parent("")
	propagation.TraceContext{}.Inject(ctx, &carrier)
	return string(carrier)
}

// Below returns a context whose next span goes on with the trace that a message carries.
func Below(ctx context.Context, carried string) context.Context {
	if carried == "" || Of(ctx).tracer == nil {
		return ctx
	}
	carrier := parent(carried)
	return propagation.TraceContext{}.Extract(ctx, &carrier)
}

// Incoming returns a context whose next span goes on with the caller's trace.
func Incoming(ctx context.Context) context.Context {
	values := metadata.ValueFromIncomingContext(ctx, parentKey)
	if len(values) != 1 {
		return ctx
	}
	return Below(ctx, values[0])
}

// parent carries the one header.
type parent string

// Get implements propagation.TextMapCarrier.
func (p *parent) Get(key string) string {
	if key != parentKey {
		return ""
	}
	return string(*p)
}

// Set implements propagation.TextMapCarrier.
func (p *parent) Set(key, value string) {
	if key == parentKey {
		*p = parent(value)
	}
}

// Keys implements propagation.TextMapCarrier.
func (p *parent) Keys() []string { return []string{parentKey} }
