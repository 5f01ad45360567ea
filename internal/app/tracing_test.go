package app

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
)

func TestTracesAreOffUntilACollectorIsNamed(t *testing.T) {
	collector, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = collector.Close() }()
	connected := make(chan struct{}, 10)
	go func() {
		for {
			connection, err := collector.Accept()
			if err != nil {
				return
			}
			connected <- struct{}{}
			_ = connection.Close()
		}
	}()
	endpoint := "http://" + collector.Addr().String()
	for name, environment := range map[string]map[string]string{
		"nothing is set":       {},
		"only the sampler is":  {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
		"for metrics only":     {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint},
		"the SDK is disabled":  {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SDK_DISABLED": "true"},
		"no traces are wanted": {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_EXPORTER": "none"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for variable, value := range environment {
				t.Setenv(variable, value)
			}
			before := runtime.NumGoroutine()
			exporter, err := startTracing(t.Context(), "sallyport-node", "node-a", logr.Discard())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(exporter).To(BeNil())
			g.Expect(exporter.Context(t.Context())).To(BeIdenticalTo(t.Context()))
			g.Expect(runtime.NumGoroutine()).To(BeNumerically("<=", before))
			exporter.Stop(t.Context())
			g.Consistently(connected).WithTimeout(100 * time.Millisecond).ShouldNot(Receive())
		})
	}
}

func TestTracesAreOnWithACollector(t *testing.T) {
	for _, variable := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		for _, protocol := range []string{"", "grpc", "http/protobuf"} {
			t.Run(variable+" "+protocol, func(t *testing.T) {
				g := NewWithT(t)
				t.Setenv(variable, "http://127.0.0.1:4317")
				t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
				exporter, err := startTracing(t.Context(), "sallyport-node", "node-a", logr.Discard())
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(exporter).NotTo(BeNil())
				exporter.Stop(t.Context())
			})
		}
	}
}

func TestACollectorThatIsNoneIsRefused(t *testing.T) {
	for name, environment := range map[string]map[string]string{
		"no URL":      {"OTEL_EXPORTER_OTLP_ENDPOINT": "otel-collector:4317"},
		"no host":     {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://"},
		"no protocol": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
	} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range environment {
				t.Setenv(variable, value)
			}
			_, err := startTracing(t.Context(), "sallyport-node", "node-a", logr.Discard())
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring("write ")))
		})
	}
}
