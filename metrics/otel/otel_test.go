package otel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// keyOf returns a key that the node of that name serves, or does not.
func keyOf(t *testing.T, c *slotmesh.Cache, name string, served bool) string {
	t.Helper()
	for i := range 10_000 {
		key := fmt.Sprint("key", i)
		if n, err := c.Cluster().Owner(key); err == nil && (n.Name == name) == served {
			return key
		}
	}
	t.Fatal("no such key")
	return ""
}

func TestSpansFollowCallsAcrossNodes(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	caches := slotmeshtest.Start(t, 2, slotmesh.WithTracer(NewTracer(WithTracerProvider(provider))))
	c, self := caches[0], caches[0].Cluster().Self().Name
	there, here := keyOf(t, c, self, false), keyOf(t, c, self, true)
	if err := c.Set(t.Context(), there, []byte("v")); err != nil { // outside of any span
		t.Fatal(err)
	}
	if n := len(spans.Ended()); n != 0 {
		t.Fatalf("%d spans without a span to be part of, want none", n)
	}
	ctx, root := provider.Tracer("test").Start(t.Context(), "request")
	if err := c.Set(ctx, there, []byte("v")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, here); err == nil {
		t.Fatal("Get of an absent key succeeded")
	}
	if _, err := c.Incr(ctx, there, 1); err == nil {
		t.Fatal("Incr of a text succeeded")
	}
	root.End()
	byName := map[string]sdktrace.ReadOnlySpan{}
	slotmeshtest.Await(t, "every span ends", func() error {
		for _, s := range spans.Ended() {
			byName[s.Name()] = s
		}
		for _, want := range []string{"slotmesh set", "slotmesh serve set", "slotmesh get", "slotmesh incr", "slotmesh serve incr"} {
			if byName[want] == nil {
				return fmt.Errorf("no span %q", want)
			}
		}
		return nil
	})
	call, serve := byName["slotmesh set"], byName["slotmesh serve set"]
	if call.Parent().SpanID() != root.SpanContext().SpanID() || serve.Parent().SpanID() != call.SpanContext().SpanID() {
		t.Errorf("the spans are no chain: request %v, call in %v, serving in %v", root.SpanContext().SpanID(), call.Parent().SpanID(), serve.Parent().SpanID())
	}
	if !serve.Parent().IsRemote() || serve.SpanContext().TraceID() != root.SpanContext().TraceID() {
		t.Error("the serving node's span is not of the caller's trace")
	}
	if call.SpanKind() != trace.SpanKindClient || serve.SpanKind() != trace.SpanKindServer {
		t.Errorf("kinds are %v and %v, want client and server", call.SpanKind(), serve.SpanKind())
	}
	attrs := attribute.NewSet(call.Attributes()...)
	if v, _ := attrs.Value("slotmesh.source"); v.AsString() != "remote" {
		t.Errorf("attributes of the call are %v, want source remote", call.Attributes())
	}
	if byName["slotmesh incr"].Status().Code != codes.Error || call.Status().Code == codes.Error {
		t.Error("a failed call's span does not say so, or another's does")
	}
	if byName["slotmesh serve get"] != nil {
		t.Error("a call answered at once here has a span of a serving node")
	}
}

// TestSpansHaveNoKeys has calls fail in ways whose errors name the key, or say what a
// loader on another node said; a condition that does not hold is no fault.
func TestSpansHaveNoKeys(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	caches := slotmeshtest.Start(t, 2, slotmesh.WithLimits(slotmesh.Limits{MaxValue: 1000}), slotmesh.WithTracer(NewTracer(WithTracerProvider(provider), WithRoots())))
	c := caches[0]
	key := keyOf(t, c, c.Cluster().Self().Name, false)
	if err := c.Set(t.Context(), key, make([]byte, 2000)); !errors.Is(err, slotmesh.ErrTooLarge) {
		t.Fatalf("Set of a large value = %v", err)
	}
	if err := c.Set(t.Context(), key, nil, slotmesh.IfPresent()); !errors.Is(err, slotmesh.ErrConditionFailed) {
		t.Fatalf("Set of an absent key if present = %v", err)
	}
	ended := spans.Ended()
	if len(ended) < 2 {
		t.Fatalf("%d spans, want those of two calls", len(ended))
	}
	if got, want := ended[0].Status().Description, slotmesh.ErrTooLarge.Error(); got != want {
		t.Errorf("a span says %q, want %q", got, want)
	}
	for _, s := range ended[1:] {
		if s.Status().Code == codes.Error {
			t.Errorf("span %s is an error: %q", s.Name(), s.Status().Description)
		}
	}
	if got := describe(&slotmesh.LoadError{Key: key, Err: errors.New(key)}); strings.Contains(got, key) {
		t.Errorf("of a loader's error a span says %q", got)
	}
}

func TestRootsFollowCallsWithoutSpan(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	c := slotmeshtest.Start(t, 1, slotmesh.WithTracer(NewTracer(WithTracerProvider(provider), WithRoots())))[0]
	if err := c.Set(t.Context(), "key", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if ended := spans.Ended(); len(ended) != 1 || ended[0].Name() != "slotmesh set" {
		t.Errorf("%d spans, want that of the call", len(ended))
	}
}

func TestMetricsAreObserved(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	c := slotmeshtest.Start(t, 2)[0]
	for i := range 50 {
		if err := c.Set(t.Context(), fmt.Sprint("key", i), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	registration, err := Observe(c, WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))), WithAttributes(attribute.String("cache", "orders")))
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string, attrs ...attribute.KeyValue) (float64, bool) {
		var all metricdata.ResourceMetrics
		if err := reader.Collect(context.Background(), &all); err != nil {
			t.Fatal(err)
		}
		want := attribute.NewSet(append(attrs, attribute.String("cache", "orders"))...)
		for _, s := range all.ScopeMetrics {
			for _, m := range s.Metrics {
				if m.Name != name {
					continue
				}
				var points []metricdata.DataPoint[float64]
				switch d := m.Data.(type) {
				case metricdata.Sum[float64]:
					points = d.DataPoints
				case metricdata.Gauge[float64]:
					points = d.DataPoints
				}
				for _, p := range points {
					if p.Attributes.Equals(&want) {
						return p.Value, true
					}
				}
			}
		}
		return 0, false
	}
	op, remote := attribute.String("slotmesh.op", "set"), attribute.String("slotmesh.source", "remote")
	if n, ok := value("slotmesh.calls", op, remote); !ok || n < 1 || n > 50 {
		t.Errorf("slotmesh.calls of remote sets is %v, %v, want some of 50", n, ok)
	}
	if n, ok := value("slotmesh.slots", attribute.String("slotmesh.state", "primary")); !ok || n != 8192 {
		t.Errorf("slotmesh.slots of primaries is %v, %v, want 8192", n, ok)
	}
	if q, ok := value("slotmesh.call_duration.quantile", op, remote, attribute.Float64("quantile", 0.5)); !ok || q <= 0 || q > 10 {
		t.Errorf("the median of remote sets is %v s, %v", q, ok)
	}
	if n, ok := value("slotmesh.memory"); !ok || n <= 0 {
		t.Errorf("slotmesh.memory is %v, %v", n, ok)
	}
	if err := registration.Unregister(); err != nil {
		t.Fatal(err)
	}
	if _, ok := value("slotmesh.memory"); ok {
		t.Error("there are measurements after Unregister")
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, wireSize))
	f.Add(append(make([]byte, wireSize), 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := unpack(b)
		if !ok {
			return
		}
		if again, ok := unpack(pack(c)); !ok || again.TraceID() != c.TraceID() || again.SpanID() != c.SpanID() || again.TraceFlags() != c.TraceFlags() {
			t.Errorf("unpack(pack(%v)) = %v, %v", c, again, ok)
		}
	})
}

// Options that are nil, and providers, are as if they had not been given.
func TestNilOptions(t *testing.T) {
	c := slotmeshtest.Start(t, 1, slotmesh.WithTracer(NewTracer(nil, WithTracerProvider(nil), WithRoots())))[0]
	if err := c.Set(t.Context(), "key", nil); err != nil {
		t.Fatal(err)
	}
	r, err := Observe(c, nil, WithMeterProvider(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Unregister(); err != nil {
		t.Fatal(err)
	}
}
