// Package collector is a collector of OpenTelemetry's traces that only tests have: it takes spans by OTLP, over gRPC or
// HTTP, and keeps what it was sent.
package collector

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Span is one that arrived.
type Span struct {
	Service, Name, Kind string
	// ID, Parent and Trace are in hexadecimal; Parent is empty for the root of a trace.
	ID, Parent, Trace string
	// Failed is the text of its status, if that is an error.
	Failed     string
	Attributes map[string]string
	Events     []string
}

// Collector keeps what it is sent.
type Collector struct {
	collectorv1.UnimplementedTraceServiceServer

	server   *grpc.Server
	listener net.Listener

	mu    sync.Mutex
	spans []Span
	bytes []byte
}

// Start returns a collector that serves gRPC on a port of 127.0.0.1.
func Start() (*Collector, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &Collector{server: grpc.NewServer(), listener: listener}
	collectorv1.RegisterTraceServiceServer(c.server, c)
	go func() { _ = c.server.Serve(listener) }()
	return c, nil
}

// URL is where it serves gRPC.
func (c *Collector) URL() string { return "http://" + c.listener.Addr().String() }

// Stop ends it; what it was sent stays.
func (c *Collector) Stop() { c.server.Stop() }

// Spans are all that arrived, in the order in which they ended.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Bytes are those of all messages.
func (c *Collector) Bytes() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.bytes)
}

// Export implements the gRPC service.
func (c *Collector) Export(
	_ context.Context, request *collectorv1.ExportTraceServiceRequest,
) (*collectorv1.ExportTraceServiceResponse, error) {
	encoded, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes = append(c.bytes, encoded...)
	for _, resource := range request.GetResourceSpans() {
		service := texts(resource.GetResource().GetAttributes())["service.name"]
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans = append(c.spans, newSpan(service, span))
			}
		}
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

// ServeHTTP takes spans over HTTP.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	request := &collectorv1.ExportTraceServiceRequest{}
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, request) != nil {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	if _, err := c.Export(r.Context(), request); err != nil {
		http.Error(w, "not kept", http.StatusInternalServerError)
	}
}

func newSpan(service string, span *tracev1.Span) Span {
	arrived := Span{
		Service: service, Name: span.GetName(), Kind: span.GetKind().String(),
		ID: hex.EncodeToString(span.GetSpanId()), Parent: hex.EncodeToString(span.GetParentSpanId()),
		Trace: hex.EncodeToString(span.GetTraceId()), Attributes: texts(span.GetAttributes()),
	}
	if span.GetStatus().GetCode() == tracev1.Status_STATUS_CODE_ERROR {
		arrived.Failed = span.GetStatus().GetMessage()
	}
	for _, event := range span.GetEvents() {
		arrived.Events = append(arrived.Events, event.GetName())
	}
	return arrived
}

func texts(attributes []*commonv1.KeyValue) map[string]string {
	found := map[string]string{}
	for _, attribute := range attributes {
		switch value := attribute.GetValue().GetValue().(type) {
		case *commonv1.AnyValue_StringValue:
			found[attribute.GetKey()] = value.StringValue
		default:
			found[attribute.GetKey()] = attribute.GetValue().String()
		}
	}
	return found
}
