package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/go-logr/logr"

	"sallyport.dev/sallyport/internal/tracing"
)

// startTracing returns what exports the spans of this process, as the standard variables of OpenTelemetry say; nil
// where they name no collector.
func startTracing(ctx context.Context, service, instance string, log logr.Logger) (*tracing.Exporter, error) {
	const variable = "OTEL_EXPORTER_OTLP_"
	endpoint := cmp.Or(os.Getenv(variable+"TRACES_ENDPOINT"), os.Getenv(variable+"ENDPOINT"))
	if endpoint == "" || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") ||
		os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	collector, err := url.Parse(endpoint)
	if err != nil || collector.Host == "" || collector.Scheme != "http" && collector.Scheme != "https" {
		return nil, errors.New(variable + "ENDPOINT is no URL of a collector: write http://otel-collector.example:4317")
	}
	protocol := cmp.Or(os.Getenv(variable+"TRACES_PROTOCOL"), os.Getenv(variable+"PROTOCOL"), "grpc")
	if protocol != "grpc" && protocol != "http/protobuf" {
		return nil, fmt.Errorf("%sPROTOCOL is %q: write grpc, or http/protobuf", variable, protocol)
	}
	_, samplerSet := os.LookupEnv("OTEL_TRACES_SAMPLER")
	log.Info("exporting traces", "collector", collector.Host, "protocol", protocol)
	return tracing.NewExporter(ctx, tracing.Options{
		Service: service, Version: version, Instance: instance,
		HTTP: protocol == "http/protobuf", SamplerSet: samplerSet, Log: log.WithName("tracing"),
	})
}
