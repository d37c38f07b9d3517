// Package otel gives what a node of slotmesh measures to OpenTelemetry, and
// follows its calls across nodes by spans:
//
//	cache, err := slotmesh.Open(ctx, slotmesh.WithTracer(slotmeshotel.NewTracer()))
//	registration, err := slotmeshotel.Observe(cache)
package otel

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/metrics"
)

const scope = "github.com/slotmesh/slotmesh/metrics/otel"

// MetricOption changes what Observe does.
type MetricOption func(*metricOptions)

type metricOptions struct {
	provider metric.MeterProvider
	attrs    []attribute.KeyValue
}

// WithMeterProvider sets whose meters are used. Default, also with nil: the global
// provider.
func WithMeterProvider(p metric.MeterProvider) MetricOption {
	return func(o *metricOptions) { o.provider = p }
}

// WithAttributes adds attributes to every measurement, such as a name that
// tells several caches of one process apart.
func WithAttributes(attrs ...attribute.KeyValue) MetricOption {
	return func(o *metricOptions) { o.attrs = append(o.attrs, attrs...) }
}

// Observe has a cache measured whenever metrics are collected, which costs about
// a millisecond, until the registration ends. The instruments are those of
// metrics.All with slotmesh. before the name: slotmesh.calls, slotmesh.memory.
//
// OpenTelemetry has no histograms that are filled elsewhere. Instead of each
// there are slotmesh.call_duration.count, .sum, and .quantile with the attribute
// quantile, which is 0.5, 0.9, 0.99 or 0.999 since the cache was opened.
func Observe(cache *slotmesh.Cache, opts ...MetricOption) (metric.Registration, error) {
	var o metricOptions
	for _, opt := range opts {
		if opt != nil {
			opt(&o)
		}
	}
	if o.provider == nil {
		o.provider = otel.GetMeterProvider()
	}
	w := watcher{cache: cache, attrs: o.attrs, one: map[*metrics.Metric]metric.Float64Observable{}, three: map[*metrics.Metric]durations{}}
	meter := o.provider.Meter(scope)
	var all []metric.Observable
	for _, m := range metrics.All() {
		made, err := w.instrument(meter, m)
		if err != nil {
			return nil, fmt.Errorf("make instrument for %s: %w", m.Name, err)
		}
		all = append(all, made...)
	}
	return meter.RegisterCallback(w.observe, all...)
}

type watcher struct {
	cache *slotmesh.Cache
	attrs []attribute.KeyValue
	one   map[*metrics.Metric]metric.Float64Observable
	three map[*metrics.Metric]durations
}

// durations stand for a histogram.
type durations struct {
	count, sum metric.Float64ObservableCounter
	quantile   metric.Float64ObservableGauge
}

var units = map[string]string{"": "1", "seconds": "s", "bytes": "By"}

var quantiles = []float64{0.5, 0.9, 0.99, 0.999}

func (w *watcher) instrument(meter metric.Meter, m *metrics.Metric) ([]metric.Observable, error) {
	name, help, unit := "slotmesh."+m.Name, metric.WithDescription(m.Help), metric.WithUnit(units[m.Unit])
	switch m.Kind {
	case metrics.Counter:
		c, err := meter.Float64ObservableCounter(name, help, unit)
		w.one[m] = c
		return []metric.Observable{c}, err
	case metrics.Gauge:
		g, err := meter.Float64ObservableGauge(name, help, unit)
		w.one[m] = g
		return []metric.Observable{g}, err
	}
	var d durations
	var err error
	if d.count, err = meter.Float64ObservableCounter(name+".count", metric.WithDescription("How many: "+m.Help), metric.WithUnit("1")); err != nil {
		return nil, err
	}
	if d.sum, err = meter.Float64ObservableCounter(name+".sum", metric.WithDescription("Sum: "+m.Help), unit); err != nil {
		return nil, err
	}
	if d.quantile, err = meter.Float64ObservableGauge(name+".quantile", metric.WithDescription("Quantiles since the cache was opened: "+m.Help), unit); err != nil {
		return nil, err
	}
	w.three[m] = d
	return []metric.Observable{d.count, d.sum, d.quantile}, nil
}

func (w *watcher) observe(_ context.Context, o metric.Observer) error {
	for _, s := range metrics.Read(w.cache) {
		attrs := append([]attribute.KeyValue(nil), w.attrs...)
		for i, label := range s.Metric.Labels {
			attrs = append(attrs, attribute.String("slotmesh."+strings.ReplaceAll(label, "_", "."), s.Labels[i]))
		}
		if s.Metric.Kind != metrics.Histogram {
			o.ObserveFloat64(w.one[s.Metric], s.Value, metric.WithAttributes(attrs...))
			continue
		}
		d := w.three[s.Metric]
		o.ObserveFloat64(d.count, float64(s.Histogram.Count), metric.WithAttributes(attrs...))
		o.ObserveFloat64(d.sum, s.Histogram.Sum.Seconds(), metric.WithAttributes(attrs...))
		for _, q := range quantiles {
			o.ObserveFloat64(d.quantile, s.Histogram.Quantile(q).Seconds(), metric.WithAttributes(append(attrs[:len(attrs):len(attrs)], attribute.Float64("quantile", q))...))
		}
	}
	return nil
}
