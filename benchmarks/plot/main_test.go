package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestPlotsAreWellFormedAndHoldEveryLine(t *testing.T) {
	lines, err := read(strings.NewReader(`{"system":"slotmesh","workload":"get","callers":1,"value_bytes":100,"ops_per_s":20000}
{"system":"a<b>","workload":"get","callers":1,"value_bytes":100,"ops_per_s":15000}
{"system":"slotmesh","workload":"get","callers":16,"value_bytes":100,"ops_per_s":0}
{"workload":"tcp","callers":1,"ops_per_s":30000}
{"ratio":"get_vs_rueidis","callers":1,"value_bytes":100,"ops":1.3}
`), nil)
	if err != nil || len(lines) != 4 {
		t.Fatalf("read gave %d lines, %v, want the 4 measurements", len(lines), err)
	}
	panels := panelsOf(lines, measures[0].of)
	if len(panels) != 2 || len(panels[0].groups) != 2 || len(panels[0].groups[0].bars) != 2 {
		t.Errorf("panels %+v, want two, the first with two groups", panels)
	}
	d := xml.NewDecoder(strings.NewReader(string(svg("rate", panels))))
	bars := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "title" {
			bars++
		}
	}
	if bars != 4 {
		t.Errorf("%d bars, want 4", bars)
	}
	if _, err := read(strings.NewReader("no JSON\n"), nil); err == nil {
		t.Error("read of what is no JSON gave no error")
	}
}
