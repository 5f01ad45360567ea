package env

import (
	"context"
	"errors"
	"os"

	"github.com/go-logr/logr"

	"sallyport.dev/sallyport/internal/tracing"
	"sallyport.dev/sallyport/test/collector"
)

// Traces are those of a suite, all of them recorded.
type Traces struct {
	*collector.Collector

	exporters []*tracing.Exporter
}

// StartTraces starts a collector that only the tests have.
func StartTraces() (*Traces, error) {
	c, err := collector.Start()
	if err != nil {
		return nil, err
	}
	for variable, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL(), "OTEL_TRACES_SAMPLER": "always_on", "OTEL_BSP_SCHEDULE_DELAY": "100",
	} {
		err = errors.Join(err, os.Setenv(variable, value))
	}
	return &Traces{Collector: c}, err
}

// Context is one in which the parts of a service make spans, as the program has it with these variables.
func (t *Traces) Context(ctx context.Context, service string, log logr.Logger) (context.Context, error) {
	exporter, err := tracing.NewExporter(ctx, tracing.Options{Service: service, SamplerSet: true, Log: log})
	if err != nil {
		return nil, err
	}
	t.exporters = append(t.exporters, exporter)
	return exporter.Context(ctx), nil
}

// Stop ends it.
func (t *Traces) Stop() {
	for _, exporter := range t.exporters {
		exporter.Stop(context.Background())
	}
	t.Collector.Stop()
}
