package resp

import (
	"runtime"
	"strings"
	"testing"
	"weak"
)

// A client that once sent much, and nothing since, keeps no memory.
func TestConnLetsLargeBuffersGo(t *testing.T) {
	s := &server{options: options{maxBulk: 8 << 20}}
	s.ctx = t.Context()
	c := newConn(s, nil, 1)
	few := strings.Repeat("PING\r\n", 10)
	in := strings.NewReader(few + "*3\r\n$4\r\nPING\r\n$1\r\nx\r\n$4194304\r\n" + strings.Repeat("x", 4<<20) + "\r\n" + few)
	var large []weak.Pointer[byte]
	for {
		if err := c.parser.fill(in); err != nil {
			break
		}
		if cap(c.parser.buf) > keepBuffer {
			large = append(large, weak.Make(&c.parser.buf[0]))
		}
		if _, err := c.parse(); err != nil {
			t.Fatal(err)
		}
		c.execute()
	}
	if len(large) == 0 {
		t.Error("there was no large buffer")
	}
	runtime.GC()
	for i, p := range large {
		if p.Value() != nil {
			t.Errorf("large buffer %d of %d is still there", i, len(large))
		}
	}
	runtime.KeepAlive(c)
}
