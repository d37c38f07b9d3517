package slotmesh_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func depsOf(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg).CombinedOutput()
	if err != nil {
		t.Fatalf("go list -deps %s: %v\n%s", pkg, err, out)
	}
	return strings.Fields(string(out))
}

// TestRootDependsOnNoTools: whoever imports slotmesh gets neither telemetry nor
// command lines nor browsers with it, and of Prometheus no more than Pebble
// itself brings.
func TestRootDependsOnNoTools(t *testing.T) {
	root := depsOf(t, ".")
	if len(root) < 100 || !slices.Contains(root, "github.com/slotmesh/slotmesh/internal/node") {
		t.Fatalf("go list -deps gave %d packages, and not the library's own", len(root))
	}
	pebble := depsOf(t, "github.com/cockroachdb/pebble/v2")
	for _, dep := range root {
		for _, bad := range []string{"go.opentelemetry.io/", "github.com/spf13/", "github.com/chromedp/", "github.com/slotmesh/slotmesh/metrics", "github.com/slotmesh/slotmesh/resp"} {
			if strings.HasPrefix(dep, bad) {
				t.Errorf("the library depends on %s", dep)
			}
		}
		if strings.HasPrefix(dep, "github.com/prometheus/") && !slices.Contains(pebble, dep) {
			t.Errorf("the library depends on %s, which Pebble does not", dep)
		}
	}
}
