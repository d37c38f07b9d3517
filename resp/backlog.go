package resp

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// Bounds of what is read from clients that take no answers, in bytes.
const (
	maxBacklog  = 64 << 20  // of one client
	maxBacklogs = 256 << 20 // of all clients of a Serve

	backlogDelay = 50 * time.Millisecond // that a client may be slow before more is read
)

// backlog is what a client has sent while it took no answers. Many clients send all
// of a pipeline before they read: were the rest of it not taken, they would wait for
// us and we for them.
//
// It reads for the connection's goroutine, and while that waits, between begin and
// end, by itself, once the wait is long: into memory of its own, as the parser's holds
// the commands under way.
type backlog struct {
	nc     net.Conn
	total  *atomic.Int64 // bytes of the backlogs of all clients
	timer  *time.Timer   // calls ahead
	over   chan struct{} // end gives ahead the word
	chunks [][]byte      // to be taken; only the last one has room
	err    error         // why nothing follows

	limited bool // the client has not authenticated: nothing is read ahead
}

func newBacklog(nc net.Conn, total *atomic.Int64) *backlog {
	return &backlog{nc: nc, total: total, over: make(chan struct{})}
}

// Read takes what was read ahead first.
func (b *backlog) Read(p []byte) (int, error) {
	for len(b.chunks) > 0 {
		if n := copy(p, b.chunks[0]); n > 0 {
			b.chunks[0] = b.chunks[0][n:]
			return n, nil
		}
		b.drop(1)
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.nc.Read(p)
}

// begin precedes a wait for the client, and end follows it. Where the wait is short
// they cost a timer set and stopped.
func (b *backlog) begin() {
	if b.timer == nil {
		b.timer = time.AfterFunc(backlogDelay, b.ahead) // ends at end
	} else {
		b.timer.Reset(backlogDelay)
	}
}

func (b *backlog) end() {
	if b.timer.Stop() {
		return
	}
	if b.nc.SetReadDeadline(time.Unix(1, 0)) != nil {
		b.nc.Close() // a connection like this can't be told to stop otherwise
	}
	b.over <- struct{}{}
	_ = b.nc.SetReadDeadline(time.Time{})
}

// ahead reads until end.
func (b *backlog) ahead() {
	for b.err == nil {
		if !b.room() {
			select {
			case <-b.over:
				return
			case <-time.After(backlogDelay): // others may have given some back
			}
			continue
		}
		last := &b.chunks[len(b.chunks)-1]
		n, err := b.nc.Read((*last)[len(*last):cap(*last)])
		*last = (*last)[:len(*last)+n]
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		b.err = err
	}
	<-b.over
}

// room makes sure that there is some in the last chunk, and reports whether it could.
func (b *backlog) room() bool {
	n := len(b.chunks)
	switch {
	case n > 0 && len(b.chunks[n-1]) < cap(b.chunks[n-1]):
		return true
	case b.limited, n >= maxBacklog/readBuffer:
		return false
	case b.total.Add(readBuffer) > maxBacklogs:
		b.total.Add(-readBuffer)
		return false
	}
	b.chunks = append(b.chunks, make([]byte, 0, readBuffer))
	return true
}

// drop gives n chunks back.
func (b *backlog) drop(n int) {
	clear(b.chunks[:n])
	if b.chunks = b.chunks[n:]; len(b.chunks) == 0 {
		b.chunks = nil
	}
	b.total.Add(-int64(n) * readBuffer)
}
