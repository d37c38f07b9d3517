package metrics_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/slotmesh/slotmesh/metrics"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

func TestReadSamplesEveryMetric(t *testing.T) {
	c := slotmeshtest.Start(t, 2)[0]
	for _, key := range []string{"a", "b", "c", "d"} {
		if err := c.Set(t.Context(), key, []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	known, sampled, names := map[*metrics.Metric]bool{}, map[*metrics.Metric]bool{}, map[string]bool{}
	for _, m := range metrics.All() {
		if known[m] = true; m.Help == "" || names[m.PrometheusName()] {
			t.Errorf("%s has no help, or is there twice", m.PrometheusName())
		}
		names[m.PrometheusName()] = true
	}
	for _, s := range metrics.Read(c) {
		if sampled[s.Metric] = true; !known[s.Metric] {
			t.Errorf("%s is not among All", s.Metric.Name)
		}
		if len(s.Labels) != len(s.Metric.Labels) {
			t.Errorf("%s has labels %q, want %q", s.Metric.Name, s.Labels, s.Metric.Labels)
		}
	}
	for m := range known {
		if !sampled[m] {
			t.Errorf("%s has no sample", m.Name)
		}
	}
}

// TestDocumentationListsEveryMetric compares the table in docs/observability.md with
// what there is, in the order of All.
func TestDocumentationListsEveryMetric(t *testing.T) {
	var want strings.Builder
	want.WriteString("| metric | labels | means |\n|---|---|---|\n")
	for _, m := range metrics.All() {
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", m.PrometheusName(), strings.Join(m.Labels, ", "), strings.TrimSuffix(m.Help, "."))
	}
	page, err := os.ReadFile("../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), want.String()+"\n") {
		t.Errorf("docs/observability.md has not this table:\n%s", want.String())
	}
}

var (
	metricName = regexp.MustCompile(`\bslotmesh_[a-z0-9_]+`)
	labelUsed  = regexp.MustCompile(`(slotmesh_[a-z0-9_]+)\{([^}]*)\}`)
)

// TestDeployFilesUseMetricsThatExist checks the dashboard and the alerts.
func TestDeployFilesUseMetricsThatExist(t *testing.T) {
	labels := map[string][]string{}
	for _, m := range metrics.All() {
		name := m.PrometheusName()
		labels[name] = m.Labels
		if m.Kind == metrics.Histogram {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				labels[name+part] = append([]string{"le"}, m.Labels...)
			}
		}
	}
	used := map[string]bool{}
	for _, file := range []string{"../deploy/grafana/slotmesh.json", "../deploy/prometheus/alerts.yml"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), `\"`, `"`)
		found := metricName.FindAllString(text, -1)
		if len(found) < 10 {
			t.Errorf("%s uses %d metrics, want more", file, len(found))
		}
		for _, name := range found {
			if _, ok := labels[name]; !ok {
				t.Errorf("%s uses %s, which does not exist", file, name)
			}
			used[name] = true
		}
		for _, m := range labelUsed.FindAllStringSubmatch(text, -1) {
			for _, l := range regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)`).FindAllStringSubmatch(m[2], -1) {
				if name := l[1]; name != "job" && name != "instance" && !contains(labels[m[1]], name) {
					t.Errorf("%s selects %s by %s, which it has not", file, m[1], name)
				}
			}
		}
	}
	if len(used) < 25 {
		t.Errorf("the dashboard and the alerts use %d metrics, want most of them", len(used))
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func TestDashboardIsWellFormed(t *testing.T) {
	b, err := os.ReadFile("../deploy/grafana/slotmesh.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Title, UID    string
		SchemaVersion int
		Panels        []struct {
			ID          int
			Type, Title string
			GridPos     struct{ H, W, X, Y int }
			Targets     []struct{ Expr, RefID string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	if d.Title == "" || d.UID == "" || d.SchemaVersion == 0 || len(d.Panels) < 12 {
		t.Fatalf("dashboard %q has %d panels, want a dozen", d.Title, len(d.Panels))
	}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.GridPos.W == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q has the ID of another, or no place", p.Title)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d shows nothing", p.ID)
		}
		for _, q := range p.Targets {
			if strings.Count(q.Expr, "(") != strings.Count(q.Expr, ")") || q.RefID == "" {
				t.Errorf("panel %q asks %q", p.Title, q.Expr)
			}
		}
	}
}
