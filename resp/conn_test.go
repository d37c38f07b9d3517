package resp

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"
)

// connect serves a client over a pipe that buffers nothing. There is no cache.
func connect(t *testing.T, s *server) (client net.Conn) {
	client, nc := net.Pipe()
	s.ctx, s.maxBulk, s.clients = t.Context(), 8<<20, map[int64]*conn{}
	c := newConn(s, nc, 1)
	s.wg.Go(c.run)
	t.Cleanup(func() {
		client.Close()
		s.wg.Wait()
		if n := s.backlogs.Load(); n != 0 {
			t.Errorf("%d bytes of backlogs are left", n)
		}
	})
	return client
}

// A link may be slow: what counts is that it takes something.
func TestSlowClientGetsWhatIsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := connect(t, &server{})
		const size = 4 << 20
		fmt.Fprintf(client, "*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n", size, strings.Repeat("x", size))
		for got := 0; got < size; {
			time.Sleep(time.Second)
			n, err := io.ReadFull(client, make([]byte, size/128))
			if got += n; err != nil {
				t.Fatalf("%v after %d bytes", err, got)
			}
		}
	})
}

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

// unheard is a connection of a client that drops what it reads.
func unheard(t *testing.T) *conn {
	s := &server{options: options{maxBulk: 1 << 20}}
	s.ctx = t.Context()
	client, nc := net.Pipe()
	t.Cleanup(func() { client.Close() })
	go io.Copy(io.Discard, client) // ends with the pipe
	return newConn(s, nc, 1)
}

func TestLongPipelineAllocatesLittle(t *testing.T) {
	c := unheard(t)
	in := strings.NewReader(strings.Repeat("*2\r\n$4\r\nECHO\r\n$4096\r\n"+strings.Repeat("x", 4096)+"\r\n", 20000))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for c.parser.fill(in) == nil {
		if _, err := c.parse(); err != nil {
			t.Fatal(err)
		}
		c.execute()
	}
	if err := c.flush(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 20<<20 {
		t.Errorf("80 MiB of answers take %d MiB", n>>20)
	}
}

// Few bytes ask for many: not all that a transaction answers is held until it is over.
func TestAnswersOfATransactionAreSentMeanwhile(t *testing.T) {
	for _, sub := range []*subscriber{nil, {three: true}} {
		c := unheard(t)
		c.out.three, c.sub = true, sub
		multi(c, nil)
		c.queued = slices.Repeat([][][]byte{{[]byte("ECHO"), make([]byte, 1<<20)}}, 100)
		exec(c, nil)
		if n := cap(c.out.b); n > 4<<20 {
			t.Errorf("100 MiB of answers take a buffer of %d MiB, subscriber %v", n>>20, sub != nil)
		}
	}
}
