package slotmesh

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzDecodeReport: a report comes from a peer, which may send anything.
func FuzzDecodeReport(f *testing.F) {
	b, err := json.Marshal(&Report{Node: Node{Name: "n1"}, Peers: []Peer{{Name: "n2"}}, Health: Health{Reasons: []string{"r"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(strings.Repeat("[", maxReport)))
	f.Add([]byte(`{"x":` + strings.Repeat("[", maxReport-5)))
	f.Add([]byte(`{"Peers":[{},{},{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeReport(b)
		if err == nil && len(r.Peers) > len(b) {
			t.Errorf("%d peers out of %d bytes", len(r.Peers), len(b))
		}
	})
}

// TestReportLeavesOutUnknownFields: a later release may add some.
func TestReportLeavesOutUnknownFields(t *testing.T) {
	b, err := json.Marshal(map[string]any{
		"Node": map[string]any{"Name": "n1", "Mood": "good"}, "Weather": []any{map[string]any{"a": 1}, "rain"}, "Backups": 2,
		"Stats": map[string]any{"Primaries": 7},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := decodeReport(b)
	if err != nil || r.Node.Name != "n1" || r.Backups != 2 || r.Stats.Primaries != 7 {
		t.Errorf("decodeReport = %+v, %v, want the fields that are known", r, err)
	}
}
