package tracing

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/test/collector"
)

// export returns a context whose spans go to a collector, and what waits until they are there.
func export(t *testing.T, endpoint string, o Options) (ctx context.Context, stop func()) {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
	o.Service, o.Instance = "sallyport-controller", "replica-0"
	exporter, err := NewExporter(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return exporter.Context(t.Context()), func() { exporter.Stop(t.Context()) }
}

func start(t *testing.T) *collector.Collector {
	t.Helper()
	c, err := collector.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

func TestSpansArriveWithWhatTheyMaySay(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			g := NewWithT(t)
			c := start(t)
			endpoint := c.URL()
			if protocol != "grpc" {
				server := httptest.NewServer(c)
				defer server.Close()
				endpoint = server.URL
			}
			t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
			ctx, stop := export(t, endpoint, Options{HTTP: protocol != "grpc", SamplerSet: true})

			ctx, publish := Start(ctx, Internal, "publish")
			publish.Set(Pod, "app-0")
			publish.Set(Connection, "db")
			asked, sent := metadata.FromOutgoingContext(Outgoing(ctx))
			g.Expect(sent).To(BeTrue())
			// The other end of the wire, in a process of its own.
			resolving := Incoming(Of(ctx).Context(metadata.NewIncomingContext(t.Context(), asked)))
			message := Below(Of(ctx).Context(t.Context()), Parent(ctx))
			g.Expect(trace.SpanContextFromContext(message)).To(Equal(trace.SpanContextFromContext(resolving)), "of a message of its own")
			resolving, resolve := Start(resolving, Server, "resolve")
			_, request := Start(resolving, Client, "vault", "read")
			request.About(fault.Subject{Kind: fault.KindVaultConfig, Namespace: "shop", Name: "prod"})
			request.Sent()
			request.Status(403)
			err := fault.Waiting(v1alpha1.ReasonPermissionDenied, "GET secret/data/db → 403").WithRemedy("canary")
			request.End(err)
			resolve.End(fmt.Errorf("secret/data/db: %w", err))
			publish.End(nil)
			stop()

			spans := c.Spans()
			g.Expect(spans).To(HaveLen(3))
			read, resolved, published := spans[0], spans[1], spans[2]
			g.Expect(published.Parent).To(BeEmpty())
			g.Expect(resolved.Parent).To(Equal(published.ID))
			g.Expect(read.Parent).To(Equal(resolved.ID))
			g.Expect([]string{read.Trace, resolved.Trace}).To(HaveEach(published.Trace))
			g.Expect(published.Failed).To(BeEmpty())
			g.Expect(published.Service).To(Equal("sallyport-controller"))
			g.Expect(published.Attributes).To(Equal(map[string]string{"k8s.pod.name": "app-0", "sallyport.connection": "db"}))
			g.Expect(resolved.Failed).To(Equal("PermissionDenied"))
			g.Expect(read.Name).To(Equal("vault read"))
			g.Expect(read.Kind).To(Equal("SPAN_KIND_CLIENT"))
			g.Expect(read.Failed).To(Equal("PermissionDenied"))
			g.Expect(read.Events).To(Equal([]string{"sent"}))
			g.Expect(read.Attributes).To(HaveKeyWithValue("sallyport.object", "VaultConfig shop/prod"))
			g.Expect(read.Attributes["http.response.status_code"]).To(ContainSubstring("403"))
			g.Expect(c.Bytes()).To(And(ContainSubstring("deployment.environment"), Not(ContainSubstring("canary")),
				Not(ContainSubstring("secret/data"))))
		})
	}
}

func TestTextsAreCutAndPrintable(t *testing.T) {
	g := NewWithT(t)
	c := start(t)
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
	ctx, stop := export(t, c.URL(), Options{SamplerSet: true})
	_, span := Start(ctx, Internal, "publish")
	span.Set(Connection, strings.Repeat("\xff\u202e", 100_000))
	for range 1000 {
		span.Sent()
	}
	span.End(nil)
	stop()
	g.Expect(c.Spans()).To(HaveLen(1))
	g.Expect(len(c.Spans()[0].Attributes["sallyport.connection"])).To(And(BeNumerically("<=", maxText), BeNumerically(">", 300)))
	g.Expect(c.Spans()[0].Events).To(HaveLen(maxEvents))
}

func TestTheCallerDecidesWhatIsRecorded(t *testing.T) {
	g := NewWithT(t)
	c := start(t)
	ctx, stop := export(t, c.URL(), Options{})
	const traces = 4000
	for range traces {
		_, span := Start(ctx, Internal, "refresh")
		span.End(nil)
	}
	for i := range 200 {
		flags := "00"
		if i%2 == 0 {
			flags = "01"
		}
		caller := metadata.Pairs("traceparent", fmt.Sprintf("00-%032x-%016x-%s", i+1, i+1, flags), "baggage", "user=canary")
		_, span := Start(Incoming(metadata.NewIncomingContext(ctx, caller)), Server, "resolve")
		span.End(nil)
	}
	stop()
	counts := map[string]int{}
	for _, span := range c.Spans() {
		counts[span.Name]++
	}
	g.Expect(counts["resolve"]).To(Equal(100))
	g.Expect(counts["refresh"]).To(BeNumerically("~", traces*DefaultRatio, 120))
	g.Expect(c.Bytes()).NotTo(ContainSubstring("canary"))
}

// away are a collector that accepts connections and says nothing, and one that is not there.
func away(t *testing.T) map[string]string {
	t.Helper()
	urls := map[string]string{}
	for _, name := range []string{"silent", "gone"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		urls[name] = "http://" + listener.Addr().String()
		if name == "gone" {
			_ = listener.Close()
		} else {
			t.Cleanup(func() { _ = listener.Close() })
		}
	}
	return urls
}

// Exports take so long that who waited for them, or for room behind them, would not be done for hours, and the process
// would not end for minutes.
func TestNobodyWaitsForACollector(t *testing.T) {
	for name, url := range away(t) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
			t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "30000")
			t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
			ctx, stop := export(t, url, Options{SamplerSet: true})
			ended := func(work func()) chan struct{} {
				over := make(chan struct{})
				go func() {
					defer close(over)
					work()
				}()
				return over
			}

			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			const spans = 200_000
			g.Eventually(ended(func() {
				for range spans {
					_, span := Start(ctx, Internal, "publish")
					span.Set(Connection, strings.Repeat("x", maxText))
					span.End(nil)
				}
			}), "5m").Should(BeClosed(), "nobody waits for who takes no spans")
			runtime.GC()
			runtime.ReadMemStats(&after)
			g.Expect(int64(after.HeapAlloc) - int64(before.HeapAlloc)).To(BeNumerically("<", 16<<20))
			g.Eventually(ended(stop), "1m").Should(BeClosed(), "the end of the process")
		})
	}
}

func TestTracesThatNobodyTakesAreALineAMinute(t *testing.T) {
	for name, url := range away(t) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
			t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "200")
			t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
			lines, failed := make(chan string, 1000), make(chan string, 1000)
			log := logr.New(levels{funcr.New(func(_, line string) { lines <- line }, funcr.Options{}).GetSink(), failed})
			ctx, stop := export(t, url, Options{SamplerSet: true, Log: log})
			for range 10_000 {
				_, span := Start(ctx, Internal, "publish")
				span.End(nil)
			}
			g.Eventually(lines, "45s").Should(Receive(ContainSubstring("Traces are not exported")))
			stop()
			g.Expect(lines).To(BeEmpty())
			g.Expect(failed).To(BeEmpty(), "lines at level error")
		})
	}
}

// levels notes what is logged at level error.
type levels struct {
	logr.LogSink
	failed chan string
}

func (l levels) Error(err error, message string, keysAndValues ...any) {
	l.failed <- message
	l.LogSink.Error(err, message, keysAndValues...)
}

func TestOffThereIsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it ends when no goroutine is left
		g := NewWithT(t)
		var exporter *Exporter
		ctx := exporter.Context(t.Context())
		g.Expect(ctx).To(BeIdenticalTo(t.Context()))
		g.Expect(Of(ctx).Context(ctx)).To(BeIdenticalTo(ctx))
		g.Expect(Outgoing(ctx)).To(BeIdenticalTo(ctx))
		g.Expect(testing.AllocsPerRun(1000, func() { work(ctx) })).To(BeZero())
		exporter.Stop(t.Context())
	})
}

// work is what a request to Vault does for its span.
func work(ctx context.Context) {
	ctx, span := Start(Outgoing(ctx), Client, "vault", "read")
	span.About(fault.Subject{Kind: fault.KindVaultConfig, Namespace: "shop", Name: "prod"})
	span.Set(Pod, "app-0")
	span.Sent()
	span.Status(200)
	span.End(ctx.Err())
}

func BenchmarkOff(b *testing.B) {
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		work(ctx)
	}
}
