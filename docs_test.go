package slotmesh_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOptionsAreListed keeps the table in docs/api.md complete.
func TestOptionsAreListed(t *testing.T) {
	page, err := os.ReadFile("docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	table, found := string(page[bytes.Index(page, []byte("## Options of Open")):]), 0
	option := regexp.MustCompile(`(?m)^func (With\w+)(?:\[.*\])?\(.*\) Option \{`)
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range option.FindAllSubmatch(source, -1) {
			if found++; !strings.Contains(table, "`"+string(m[1])+"`") {
				t.Errorf("docs/api.md does not list %s of %s", m[1], file)
			}
		}
	}
	if found < 30 {
		t.Errorf("found %d options, want all", found)
	}
}

// TestWaysAreThere keeps the walks through the code in docs/design.md true.
func TestWaysAreThere(t *testing.T) {
	page, err := os.ReadFile("docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	steps := regexp.MustCompile("(?m)^\\| .* \\| `(\\w+)` \\| `([\\w/.]+)` \\|$").FindAllSubmatch(page, -1)
	if len(steps) < 80 {
		t.Fatalf("found %d steps, want five tables", len(steps))
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

// TestEveryFileOfNodeIsListed keeps the map in internal/node/doc.go complete.
func TestEveryFileOfNodeIsListed(t *testing.T) {
	doc, err := os.ReadFile("internal/node/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("internal/node/*.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{"doc.go": true}
	for _, name := range regexp.MustCompile(`\w+\.go\b`).FindAllString(string(doc), -1) {
		listed[name] = true
	}
	for _, file := range files {
		name := filepath.Base(file)
		if !listed[name] && !strings.HasSuffix(name, "_test.go") {
			t.Errorf("internal/node/doc.go does not say what is in %s", name)
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("internal/node/doc.go lists %s, which is not there", name)
	}
}
