package tracing

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/time/rate"

	"sallyport.dev/sallyport/internal/printable"
)

const (
	// DefaultRatio is the part of traces that is recorded, unless OTEL_TRACES_SAMPLER says otherwise: volumes are
	// refreshed every minute, each with a trace of its own.
	DefaultRatio = 0.1
	// maxAttributes is more than there are keys, and maxEvents more than a request is sent. Together with maxText, and
	// the 2,048 spans that the batch processor keeps at most (OTEL_BSP_MAX_QUEUE_SIZE), they bound what waits to be
	// exported; what is more is dropped, and nobody waits.
	maxAttributes = 16
	maxEvents     = 8
	// stopTime is how long the last spans may take when the process stops.
	stopTime = 3 * time.Second
	// maxError is what a line of the log tells of why nothing is exported.
	maxError = 512
)

// Options say who exports. Where to, how and how much, the standard variables of OpenTelemetry say.
type Options struct {
	// Service, Version and Instance name the process.
	Service, Version, Instance string
	// HTTP is whether OTLP is spoken over HTTP, and not gRPC.
	HTTP bool
	// SamplerSet is whether OTEL_TRACES_SAMPLER is.
	SamplerSet bool
	Log        logr.Logger
}

// Exporter makes the spans of a process and exports them, in batches and behind everybody's back.
type Exporter struct{ provider *sdktrace.TracerProvider }

// NewExporter returns an exporter, which connects when there is something to export.
func NewExporter(ctx context.Context, o Options) (*Exporter, error) {
	quiet(o.Log)
	client := otlptracegrpc.NewClient()
	if o.HTTP {
		client = otlptracehttp.NewClient()
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("preparing the export of traces: %w", err)
	}
	who, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", o.Service), attribute.String("service.version", o.Version),
		attribute.String("service.instance.id", o.Instance),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	options := []sdktrace.TracerProviderOption{
		sdktrace.WithBatcher(exporter), sdktrace.WithResource(who), sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{
			AttributeValueLengthLimit: maxText, AttributeCountLimit: maxAttributes, EventCountLimit: maxEvents,
		}),
	}
	if !o.SamplerSet {
		options = append(options, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(DefaultRatio))))
	}
	return &Exporter{sdktrace.NewTracerProvider(options...)}, nil
}

// quiet has the SDK write a line a minute at most of what goes wrong: a collector that is away concerns nobody's
// secrets.
func quiet(log logr.Logger) {
	lines := rate.NewLimiter(rate.Every(time.Minute), 1)
	otel.SetLogger(log)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if lines.Allow() {
			log.Info("Traces are not exported as they should be", "error", printable.Text(err.Error(), maxError))
		}
	}))
}

// Context returns a context in which spans are made. Without an exporter it is the same.
func (e *Exporter) Context(ctx context.Context) context.Context {
	if e == nil {
		return ctx
	}
	return Tracer{e.provider.Tracer("sallyport.dev/sallyport")}.Context(ctx)
}

// Stop exports what still waits, if that does not take long. Without an exporter it does nothing.
func (e *Exporter) Stop(ctx context.Context) {
	if e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	_ = e.provider.Shutdown(ctx) // the handler has heard
}
