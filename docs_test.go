package slotmesh_test

import (
	"os"
	"regexp"
	"testing"
)

// TestWayOfOneSetIsThere keeps the walk through the code in docs/design.md true.
func TestWayOfOneSetIsThere(t *testing.T) {
	page, err := os.ReadFile("docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	steps := regexp.MustCompile("(?m)^\\| .* \\| `(\\w+)` \\| `([\\w/.]+)` \\|$").FindAllSubmatch(page, -1)
	if len(steps) < 10 {
		t.Fatalf("found %d steps, want the table", len(steps))
	}
	for _, step := range steps {
		name, file := string(step[1]), string(step[2])
		source, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if !regexp.MustCompile(`(?m)^func (\(.*\) )?` + name + `\(`).Match(source) {
			t.Errorf("%s has no function %s", file, name)
		}
	}
}
