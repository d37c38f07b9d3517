// Package prometheus collects what a node of slotmesh measures:
//
//	registry.MustRegister(slotmeshprometheus.NewCollector(cache))
//
// The metrics are those of metrics.All, named slotmesh_…; deploy/grafana has a
// dashboard and deploy/prometheus alert rules for them.
package prometheus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/metrics"
)

// Collector is a prometheus.Collector over one node. Collecting costs about a
// millisecond and asks no other node. Several nodes in one process are told
// apart by prometheus.WrapRegistererWith.
type Collector struct {
	cache  *slotmesh.Cache
	descs  map[*metrics.Metric]*prometheus.Desc
	bounds []float64
}

// NewCollector returns a Collector over a cache, which may be closed before it.
func NewCollector(cache *slotmesh.Cache) *Collector {
	c := &Collector{cache: cache, descs: map[*metrics.Metric]*prometheus.Desc{}, bounds: metrics.Bounds()}
	for _, m := range metrics.All() {
		c.descs[m] = prometheus.NewDesc(m.PrometheusName(), m.Help, m.Labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range metrics.Read(c.cache) {
		d := c.descs[s.Metric]
		switch s.Metric.Kind {
		case metrics.Counter:
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, s.Value, s.Labels...)
		case metrics.Gauge:
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, s.Value, s.Labels...)
		default:
			buckets, sum := make(map[float64]uint64, len(c.bounds)), uint64(0)
			for i, bound := range c.bounds {
				if i < len(s.Histogram.Buckets) {
					sum += s.Histogram.Buckets[i]
				}
				buckets[bound] = sum
			}
			ch <- prometheus.MustNewConstHistogram(d, s.Histogram.Count, s.Histogram.Sum.Seconds(), buckets, s.Labels...)
		}
	}
}
