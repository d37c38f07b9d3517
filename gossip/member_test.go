package gossip

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"
)

func full() Member {
	return Member{
		ID: NodeID{1, 2}, Name: strings.Repeat("n", MaxName), Addr: strings.Repeat("a", MaxAddr-6) + ":65535",
		Zone: strings.Repeat("z", MaxZone), Seat: strings.Repeat("s", MaxSeat),
		Weight: MaxWeight, MinProto: 255, MaxProto: 255, Leaving: true,
	}
}

func TestLargestMetadataFits(t *testing.T) {
	m := full()
	b := encodeMeta(&m, true)
	if len(b) > maxMeta {
		t.Errorf("metadata has %d bytes, more than %d", len(b), maxMeta)
	}
	got, goodbye, err := decodeMeta(formatID(m.ID), b)
	if err != nil || !goodbye || got != m {
		t.Errorf("decodeMeta = %+v, %v, %v, want %+v", got, goodbye, err, m)
	}
}

// Pins the form: two adjacent releases run in one cluster.
func TestMetadataFormStays(t *testing.T) {
	m := Member{ID: NodeID{1}, Name: "n", Addr: "h:1", Zone: "z", Seat: "s", Weight: 300, MinProto: 1, MaxProto: 2, Leaving: true}
	const want = "\x98\xa1n\xa3h:1\xa1z\xa1s\xcd\x01\x2c\x01\x02\x01"
	if got := encodeMeta(&m, false); string(got) != want {
		t.Errorf("encodeMeta = %q, want %q", got, want)
	}
	named := m
	named.Attributes = "a=b"
	withAttributes := "\x99" + want[1:] + "\xa3a=b"
	if got := encodeMeta(&named, false); string(got) != withAttributes {
		t.Errorf("encodeMeta = %q, want %q", got, withAttributes)
	}
	if got, _, err := decodeMeta(formatID(m.ID), []byte(withAttributes)); err != nil || got != named {
		t.Errorf("decodeMeta with attributes = %+v, %v", got, err)
	}
	later := "\x9b" + want[1:] + "\xa0\x01\xa3new" // two fields more
	got, goodbye, err := decodeMeta(formatID(m.ID), []byte(later))
	if err != nil || goodbye || got != m {
		t.Errorf("decodeMeta of a later release = %+v, %v, %v", got, goodbye, err)
	}
}

func TestBadMetadataIsRefused(t *testing.T) {
	m := full()
	good := string(encodeMeta(&m, false))
	name := formatID(m.ID)
	change := func(f func(*Member)) string {
		m := full()
		f(&m)
		return string(encodeMeta(&m, false))
	}
	for _, tt := range []struct{ what, name, meta string }{
		{"empty", name, ""},
		{"cut short", name, good[:len(good)-1]},
		{"too long", name, good + strings.Repeat("\x00", maxMeta)},
		{"too few fields", name, "\x97" + good[1:]},
		{"nil", name, "\xc0"},
		{"a huge string", name, "\x98\xdb\x7f\xff\xff\xff"},
		{"no string", name, "\x98\xc0"},
		{"no name", name, change(func(m *Member) { m.Name = "" })},
		{"long name", name, change(func(m *Member) { m.Name += "n"; m.Zone = "" })},
		{"name not UTF-8", name, change(func(m *Member) { m.Name = "\xff" })},
		{"no port", name, change(func(m *Member) { m.Addr = "host" })},
		{"port 0", name, change(func(m *Member) { m.Addr = "host:0" })},
		{"no host", name, change(func(m *Member) { m.Addr = ":1" })},
		{"heavy", name, change(func(m *Member) { m.Weight++ })},
		{"empty protocol range", name, change(func(m *Member) { m.MaxProto = 1 })},
		{"attributes beyond the room", name, change(func(m *Member) { m.Attributes = strings.Repeat("a", 100) })},
		{"attributes too long", name, change(func(m *Member) {
			m.Attributes, m.Addr, m.Seat, m.Zone = strings.Repeat("a", MaxAttributes+1), "a:1", "", ""
		})},
		{"attributes no string", name, "\x99" + good[1:] + "\x01"},
		{"ID in capitals", strings.Repeat("AB", 16), good},
		{"short ID", "abcd", good},
		{"zero ID", strings.Repeat("00", 16), good},
	} {
		if got, _, err := decodeMeta(tt.name, []byte(tt.meta)); err == nil {
			t.Errorf("%s: decodeMeta = %+v, want an error", tt.what, got)
		}
	}
}

func FuzzDecodeMeta(f *testing.F) {
	m := full()
	f.Add(formatID(m.ID), encodeMeta(&m, true))
	f.Add(formatID(m.ID), []byte("\x98\xdb\x7f\xff\xff\xff"))
	named := Member{ID: NodeID{1}, Name: "n", Addr: "h:1", Weight: 1, MaxProto: 1, Attributes: "\x01a\x01b"}
	f.Add(formatID(named.ID), encodeMeta(&named, false))
	f.Fuzz(func(t *testing.T, name string, meta []byte) {
		m, goodbye, err := decodeMeta(name, meta)
		if err != nil {
			return
		}
		b := encodeMeta(&m, goodbye)
		again, bye, err := decodeMeta(name, b)
		if err != nil || again != m || bye != goodbye || len(b) > maxMeta {
			t.Errorf("%+v became %+v, %v, in %d bytes", m, again, err, len(b))
		}
		if !bytes.Equal(b, encodeMeta(&again, bye)) {
			t.Errorf("%+v has two forms", m)
		}
	})
}

// Members that memberlist could not merge with are refused: they would keep all others
// from joining.
func TestOtherGossipIsRefused(t *testing.T) {
	self, other := Member{ID: NodeID{1}, Name: "a", Addr: "10.0.0.1:1"}, Member{ID: NodeID{2}, Name: "b", Addr: "10.0.0.2:1"}
	g := &Gossip{self: self.ID, cfg: Config{Self: self}, logs: newLogs(nil), roll: newRoll(self, func(Event) {})}
	d := &delegate{g: g, refused: map[string]struct{}{}}
	for _, tt := range []struct {
		name string
		n    memberlist.Node
		want bool
	}{
		{"this release", memberlist.Node{PMin: memberlist.ProtocolVersionMin, PMax: memberlist.ProtocolVersionMax, PCur: protocol}, true},
		{"a later one that speaks this too", memberlist.Node{PMin: 2, PMax: 9, PCur: protocol, DMax: 3}, true},
		{"too new", memberlist.Node{PMin: 3, PMax: 5, PCur: 3}, false},
		{"too old", memberlist.Node{PMin: 1, PMax: 1, PCur: 1}, false},
		{"speaks another version", memberlist.Node{PMin: 1, PMax: 5, PCur: 5}, false},
		{"another delegate", memberlist.Node{PMin: 1, PMax: 5, PCur: protocol, DMin: 1, DMax: 1, DCur: 1}, false},
	} {
		tt.n.Name, tt.n.Addr, tt.n.Port, tt.n.Meta = formatID(other.ID), net.IPv4(10, 0, 0, 2), 1, encodeMeta(&other, false)
		if err := d.NotifyAlive(&tt.n); (err == nil) != tt.want {
			t.Errorf("%s: NotifyAlive = %v, want none: %v", tt.name, err, tt.want)
		}
	}
}

func TestEventsCoalesce(t *testing.T) {
	a, b := Member{ID: NodeID{1}, Name: "a"}, Member{ID: NodeID{2}, Name: "b"}
	up := a
	up.Weight = 9
	for _, tt := range []struct {
		name     string
		in, want []Event
	}{
		{"different members keep their order", []Event{{Joined, a}, {Joined, b}}, []Event{{Joined, a}, {Joined, b}}},
		{"an update joins the join", []Event{{Joined, a}, {Joined, b}, {Updated, up}}, []Event{{Joined, up}, {Joined, b}}},
		{"the last update wins", []Event{{Updated, a}, {Updated, up}}, []Event{{Updated, up}}},
		{"come and gone is nothing", []Event{{Joined, a}, {Failed, a}}, nil},
		{"gone and back is both", []Event{{Failed, a}, {Joined, up}}, []Event{{Failed, a}, {Joined, up}}},
		{"gone, back and gone is gone", []Event{{Failed, a}, {Joined, up}, {Failed, up}}, []Event{{Failed, a}}},
		{"a goodbye is told to who knew it as failed", []Event{{Joined, up}, {Left, up}}, []Event{{Left, up}}},
		{"a goodbye says more than a failure", []Event{{Failed, a}, {Left, up}}, []Event{{Left, up}}},
		{"gone, back and leaving is leaving", []Event{{Failed, a}, {Joined, up}, {Left, up}}, []Event{{Failed, a}, {Left, up}}},
		{"an update before the end is left out", []Event{{Updated, up}, {Left, up}}, []Event{{Left, up}}},
	} {
		var got []Event
		for _, e := range tt.in {
			got = coalesce(got, e)
		}
		if len(got) != len(tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
			}
		}
	}
}
