package check_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// TestAlertsAreWellFormed reads the rules strictly, and their expressions.
func TestAlertsAreWellFormed(t *testing.T) {
	f, err := os.Open("../alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	d := yaml.NewDecoder(f)
	d.KnownFields(true)
	if err := d.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if _, err := parser.ParseExpr(r.Expr); err != nil {
				t.Errorf("%s: %s: %v", r.Alert, r.Expr, err)
			}
			if seen[r.Alert] || r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
				t.Errorf("alert %q is there twice, or does not say enough", r.Alert)
			}
			seen[r.Alert] = true
		}
	}
	if len(seen) < 10 {
		t.Errorf("%d alerts, want at least 10", len(seen))
	}
}

func TestDashboardAsksWellFormedQuestions(t *testing.T) {
	b, err := os.ReadFile("../../grafana/slotmesh.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "1m", "$job", "job", "$instance", "instance").Replace(q.Expr)
			if _, err := parser.ParseExpr(expr); err != nil {
				t.Errorf("%s: %s: %v", p.Title, q.Expr, err)
			}
			asked++
		}
	}
	if asked < 20 {
		t.Errorf("the dashboard asks %d questions, want at least 20", asked)
	}
}
