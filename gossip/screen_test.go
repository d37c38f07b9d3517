package gossip

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
)

var label = append([]byte{typeLabel, 4}, "test"...)

func TestScreenTellsMessagesFromGarbage(t *testing.T) {
	s := screen{label: "test", maxState: 10000}
	ping := []byte{0, 0x82, 0xa5, 'S', 'e', 'q', 'N', 'o', 7, 0xa4, 'N', 'o', 'd', 'e', 0xda, 0, 2, 'a', 'b'}
	with := func(label []byte, parts ...[]byte) []byte {
		return append(bytes.Clone(label), bytes.Join(parts, nil)...)
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"message", with(label, ping), true},
		{"message with a checksum", with(label, []byte{typeCRC, 1, 2, 3, 4}, ping), true},
		{"user message", with(label, []byte{typeUser, 0xff}), true},
		{"compound", with(label, []byte{typeCompound, 2, 0, byte(len(ping)), 0, 2}, ping, []byte{typeUser, 1}), true},
		{"no label", ping, false},
		{"other label", with([]byte{typeLabel, 4, 'r', 'e', 's', 't'}, ping), false},
		{"label alone", label, false},
		{"checksum alone", with(label, []byte{typeCRC, 1, 2, 3, 4}), false},
		{"cut short", with(label, ping[:len(ping)-1]), false},
		{"compressed", with(label, []byte{typeCompress}, ping[1:]), false},
		{"encrypted", with(label, []byte{typeEncrypt}, ping[1:]), false},
		{"compound in a compound", with(label, []byte{typeCompound, 1, 0, 2, typeCompound, 0}), false},
		{"compound cut short", with(label, []byte{typeCompound, 3, 0, 1}), false},
		{"huge map", with(label, []byte{0, 0xdf, 0x7f, 0xff, 0xff, 0xff}), false},
		{"huge text", with(label, []byte{0, 0x81, 0xa1, 'a', 0xdb, 0x7f, 0xff, 0xff, 0xff}), false},
		{"huge array", with(label, []byte{0, 0x81, 0xa1, 'a', 0xdd, 0x7f, 0xff, 0xff, 0xff}), false},
		{"nested map", with(label, []byte{0, 0x81, 0xa1, 'a', 0x80}), false},
		{"extension", with(label, []byte{0, 0x81, 0xa1, 'a', 0xd4, 1, 1}), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := s.packet(tt.b); got != tt.want {
				t.Errorf("packet(%x) = %v, want %v", tt.b, got, tt.want)
			}
		})
	}
}

// stutter is a connection that gives up its bytes in small pieces.
type stutter struct {
	net.Conn
	r    io.Reader
	step int
}

func (s stutter) Read(b []byte) (int, error) { return s.r.Read(b[:min(len(b), s.step)]) }

func TestScreenOfStreams(t *testing.T) {
	header := func(nodes, state uint32) []byte {
		b := append([]byte{typePushPull, 0x83, 0xa5}, "Nodes\xce"...)
		b = binary.BigEndian.AppendUint32(b, nodes)
		b = append(append(b, 0xac), "UserStateLen\xce"...)
		b = binary.BigEndian.AppendUint32(b, state)
		return append(append(b, 0xa4), "Join\xc3"...)
	}
	node := append([]byte{0x81, 0xa4}, "Name\xa1n"...)
	state := bytes.Repeat([]byte{0xdf}, 10000)
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, tt := range []struct {
		name    string
		labeled bool
		b       []byte
		want    bool
	}{
		{"push/pull", true, cat(label, header(2, 10000), node, node, state), true},
		{"answer to a push/pull", false, cat(header(2, 10000), node, node, state), true},
		{"no label", true, cat(header(0, 0)), false},
		{"a million nodes", true, cat(label, header(1<<20, 0)), false},
		{"too much state", true, cat(label, header(0, 10001)), false},
		{"fewer nodes than said", true, cat(label, header(3, 10000), node, node, state), false},
		{"endless map", true, cat(label, header(1, 0), []byte{0x81, 0xda, 0x20, 0}, state), false},
		{"a user's message", true, cat(label, []byte{typeUser, 0x81, 0xaa}, []byte("UserMsgLen\x01x")), false},
		{"compressed", true, cat(label, []byte{typeCompress, 0x80}), false},
	} {
		for _, step := range []int{1, 7, 4096} {
			c := &screenedConn{Conn: stutter{r: bytes.NewReader(tt.b), step: step}, s: screen{label: "test", maxState: 10000}, labeled: tt.labeled}
			got, err := io.ReadAll(c)
			if ok := err == nil && bytes.Equal(got, tt.b); ok != tt.want {
				t.Errorf("%s by %d: %d of %d bytes, %v, want ok: %v", tt.name, step, len(got), len(tt.b), err, tt.want)
			}
		}
	}
}

func FuzzScreen(f *testing.F) {
	f.Add([]byte{0, 0x81, 0xa1, 'a', 0xdb, 0x7f, 0xff, 0xff, 0xff})
	f.Add([]byte{typeCompound, 2, 0, 2, 0, 2, typeUser, 1, typeUser, 1})
	f.Fuzz(func(_ *testing.T, b []byte) {
		s := screen{label: "test", maxState: 10000}
		s.packet(b)
		s.packet(append(bytes.Clone(label), b...))
		c := &screenedConn{Conn: stutter{r: bytes.NewReader(b), step: 3}, s: s}
		_, _ = io.Copy(io.Discard, c)
	})
}
