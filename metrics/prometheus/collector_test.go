package prometheus_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/slotmesh/slotmesh"
	slotmeshprometheus "github.com/slotmesh/slotmesh/metrics/prometheus"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

func TestCollectorIsScraped(t *testing.T) {
	caches := slotmeshtest.Start(t, 2)
	c := caches[0]
	for i := range 100 {
		key := fmt.Sprint("key", i)
		if err := c.Set(t.Context(), key, []byte("v")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(slotmeshprometheus.NewCollector(c))
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("the metrics are not as they should be: %v %v", problems, err)
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`slotmesh_calls_total{op="set",source="local"} `, `slotmesh_calls_total{op="get",source="remote"} `,
		`slotmesh_call_duration_seconds_bucket{op="get",source="remote",le="0.001"} `,
		`slotmesh_peer_call_duration_seconds_count{peer="n2"} `, `slotmesh_slots{state="primary"} 8192`,
		`slotmesh_cluster_slots{state="no_primary"} 0`, `slotmesh_members{state="alive"} 2`, `slotmesh_info{node="n1",zone=""} 1`,
		`slotmesh_peer_up{peer="n2"} 1`, `slotmesh_replication_lag_seconds `, `slotmesh_gossip_packets_total{direction="in"} `,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in\n%s", want, w.Body)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Gather(); err != nil {
		t.Errorf("a closed node cannot be collected: %v", err)
	}
}

func TestCollectorsOfOneProcessAreToldApart(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	for i, c := range slotmeshtest.Start(t, 2) {
		labels := prometheus.Labels{"cache": fmt.Sprint(i)}
		prometheus.WrapRegistererWith(labels, registry).MustRegister(slotmeshprometheus.NewCollector(c))
	}
	if _, err := registry.Gather(); err != nil {
		t.Fatal(err)
	}
}

var _ prometheus.Collector = (*slotmeshprometheus.Collector)(nil)

func ExampleNewCollector() {
	var cache *slotmesh.Cache // from slotmesh.Open
	registry := prometheus.NewRegistry()
	registry.MustRegister(slotmeshprometheus.NewCollector(cache))
}
