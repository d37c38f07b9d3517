package otel

import (
	"context"
	"errors"
	"slices"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/slotmesh/slotmesh"
)

// TraceOption changes what a Tracer does.
type TraceOption func(*Tracer)

// WithTracerProvider sets whose tracer is used. Default, also with nil: the global
// provider.
func WithTracerProvider(p trace.TracerProvider) TraceOption {
	return func(t *Tracer) { t.provider = p }
}

// WithRoots has calls followed as well whose context has no span: they become
// the roots of traces. By default only calls within a span that is recorded are
// followed, so that the others cost a few nanoseconds.
func WithRoots() TraceOption { return func(t *Tracer) { t.roots = true } }

// Tracer is a slotmesh.Tracer: a call gets a client span, and a server span at
// the node that answers it. Keys and values are in none.
type Tracer struct {
	provider trace.TracerProvider
	tracer   trace.Tracer
	roots    bool
}

// NewTracer returns what slotmesh.WithTracer takes.
func NewTracer(opts ...TraceOption) *Tracer {
	t := &Tracer{}
	for _, opt := range opts {
		if opt != nil {
			opt(t)
		}
	}
	if t.provider == nil {
		t.provider = otel.GetTracerProvider()
	}
	t.tracer = t.provider.Tracer(scope)
	return t
}

// Call implements slotmesh.Tracer.
func (t *Tracer) Call(ctx context.Context, op string, slot uint16) ([]byte, func(slotmesh.CallEnd)) {
	if !t.roots && !trace.SpanFromContext(ctx).IsRecording() {
		return nil, nil
	}
	_, span := t.tracer.Start(ctx, "slotmesh "+op, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("db.system.name", "slotmesh"), attribute.String("db.operation.name", op), attribute.Int("slotmesh.slot", int(slot))))
	return pack(span.SpanContext()), func(e slotmesh.CallEnd) {
		span.SetAttributes(attribute.String("slotmesh.source", e.Source), attribute.Int("slotmesh.attempts", e.Attempts))
		if e.Peer != "" {
			span.SetAttributes(attribute.String("slotmesh.peer", e.Peer))
		}
		end(span, e.Err)
	}
}

// Serve implements slotmesh.Tracer.
func (t *Tracer) Serve(b []byte, op string, slot uint16, caller string) func(error) {
	parent, ok := unpack(b)
	if !ok {
		return nil
	}
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), parent)
	_, span := t.tracer.Start(ctx, "slotmesh serve "+op, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("db.system.name", "slotmesh"), attribute.String("db.operation.name", op),
		attribute.Int("slotmesh.slot", int(slot)), attribute.String("slotmesh.caller", caller)))
	return func(err error) { end(span, err) }
}

func end(span trace.Span, err error) {
	if err != nil && !isAny(err, answers) {
		span.SetStatus(codes.Error, describe(err))
	}
	span.End()
}

// answers are no faults: that a condition does not hold is what was asked.
var answers = []error{slotmesh.ErrNotFound, slotmesh.ErrConditionFailed, slotmesh.ErrVersionMismatch, slotmesh.ErrConflict, slotmesh.ErrLocked}

// named are errors whose own text is told. What is around it may have the key, and a
// loader's error anything.
var named = []error{
	slotmesh.ErrUnknownOutcome, slotmesh.ErrNoPrimary, context.DeadlineExceeded, context.Canceled, slotmesh.ErrTooLarge,
	slotmesh.ErrInvalid, slotmesh.ErrNotInteger, slotmesh.ErrNotEnoughBackups, slotmesh.ErrNoMemory, slotmesh.ErrDisk,
	slotmesh.ErrOverloaded, slotmesh.ErrClosed, slotmesh.ErrSuperseded, slotmesh.ErrIncompatible, slotmesh.ErrCrossSlot,
}

func describe(err error) string {
	for _, of := range named {
		if errors.Is(err, of) {
			return of.Error()
		}
	}
	return "the call failed"
}

func isAny(err error, of []error) bool {
	return slices.ContainsFunc(of, func(e error) bool { return errors.Is(err, e) })
}

// A trace on the wire: a version, the IDs of trace and span, the flags.
const (
	wireVersion = 0
	wireSize    = 1 + 16 + 8 + 1
)

func pack(c trace.SpanContext) []byte {
	if !c.IsValid() {
		return nil
	}
	traceID, spanID := c.TraceID(), c.SpanID()
	b := append(make([]byte, 0, wireSize), wireVersion)
	b = append(b, traceID[:]...)
	b = append(b, spanID[:]...)
	return append(b, byte(c.TraceFlags()))
}

// unpack reads what may come from any peer; what follows the flags is left out.
func unpack(b []byte) (trace.SpanContext, bool) {
	if len(b) < wireSize || b[0] != wireVersion {
		return trace.SpanContext{}, false
	}
	c := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(b[1:17]), SpanID: trace.SpanID(b[17:25]), TraceFlags: trace.TraceFlags(b[25]), Remote: true,
	})
	return c, c.IsValid()
}
