package transport

import (
	"encoding/binary"
	"sync"
	"syscall"
)

// outflow writes the data stream's messages to its connection, as data frames
// within what the peer's flow control allows, past grpc's own writer
// goroutine. What grpc writes itself once the stream stands, answers to pings
// and the like, goes in between.
//
// initial, allowed and nudge are for any goroutine, the others for whoever
// has the outbox's turn.
type outflow struct {
	c   *conn
	raw syscall.RawConn // nil: nothing can be written without waiting
	box *outbox

	doTry func(fd uintptr) bool // made once, works on the three below
	now   []byte
	tried int
	err   error

	cur    *[]byte // the batch in hand
	left   []byte  // of it: not yet put into frames
	credit int
	rest   []byte // frames not yet written; c.wmu is held while there are any
	flat   []byte

	change chan struct{} // capacity 1: the windows have grown, or there is credit

	mu           sync.Mutex // guards below
	start        int64      // a stream's window to begin with
	ours, common int64      // what may be sent on the stream, on the connection
}

const (
	dataHead  = frameHead + grpcHead // in front of a batch
	flatSize  = 64 << 10
	keepFlat  = 128 << 10
	handshook = 4 << 10 // bytes that the handshake has taken of the windows at most
)

func newOutflow(c *conn) *outflow {
	o := &outflow{c: c, start: initialWindow, ours: initialWindow - handshook, common: initialWindow - handshook, change: make(chan struct{}, 1)}
	if sc, ok := c.Conn.(syscall.Conn); ok && canTry {
		if raw, err := sc.SyscallConn(); err == nil {
			o.raw = raw
			o.doTry = func(fd uintptr) bool {
				o.tried, o.err = writeNow(fd, o.now)
				return true
			}
		}
	}
	return o
}

// initial takes in the peer's setting of a stream's window.
func (o *outflow) initial(n int64) {
	o.mu.Lock()
	o.ours += n - o.start
	o.start = n
	o.mu.Unlock()
	o.nudge()
}

// allowed adds to a window.
func (o *outflow) allowed(common bool, n int64) {
	o.mu.Lock()
	if common {
		o.common += n
	} else {
		o.ours += n
	}
	o.mu.Unlock()
	o.nudge()
}

func (o *outflow) nudge() {
	select {
	case o.change <- struct{}{}:
	default:
	}
}

// spend takes up to n bytes off the windows.
func (o *outflow) spend(n int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n = int(max(min(int64(n), o.ours, o.common), 0))
	o.ours -= int64(n)
	o.common -= int64(n)
	return n
}

// begin takes a batch in hand.
func (o *outflow) begin(b *batch, credit int) {
	data := *b.data
	o.cur, o.left, o.credit = b.data, nil, o.credit+credit
	if len(data) > dataHead {
		data[frameHead] = 0
		binary.BigEndian.PutUint32(data[frameHead+1:], uint32(len(data)-dataHead))
		o.left = data[frameHead:]
	}
}

// frame puts what comes next into frames and returns those.
func (o *outflow) frame(whole []byte) []byte {
	stream := o.c.in.stream.Load()
	if o.credit == 0 && len(o.left) == len(whole)-frameHead && len(o.left) <= maxData {
		if n := o.spend(len(o.left)); n == len(o.left) {
			putHead(whole, n, frameData, 0, stream)
			o.left = nil
			return whole
		} else if n > 0 {
			o.unspend(n)
		}
	}
	flat := o.flat[:0]
	if o.credit > 0 {
		for _, s := range []uint32{0, stream} {
			flat = append(flat, make([]byte, frameHead+4)...)
			u := flat[len(flat)-frameHead-4:]
			putHead(u, 4, frameWindow, 0, s)
			binary.BigEndian.PutUint32(u[frameHead:], uint32(o.credit))
		}
		o.credit = 0
	}
	for len(o.left) > 0 && len(flat) < flatSize {
		n := o.spend(min(len(o.left), maxData))
		if n == 0 {
			break
		}
		var head [frameHead]byte
		putHead(head[:], n, frameData, 0, stream)
		flat = append(flat, head[:]...)
		flat = append(flat, o.left[:n]...)
		o.left = o.left[n:]
	}
	o.flat = flat
	return flat
}

func (o *outflow) unspend(n int) {
	o.mu.Lock()
	o.ours += int64(n)
	o.common += int64(n)
	o.mu.Unlock()
}

func putHead(b []byte, n int, typ, flags byte, stream uint32) {
	b[0], b[1], b[2], b[3], b[4] = byte(n>>16), byte(n>>8), byte(n), typ, flags
	binary.BigEndian.PutUint32(b[5:], stream)
}

// try is on the hot path. (trier)
func (o *outflow) try(b *batch, credit int) (done bool, err error) {
	o.begin(b, credit)
	if len(*b.data) > flatSize || !o.c.wmu.TryLock() {
		return false, nil
	}
	o.rest = o.frame(*b.data)
	for len(o.rest) > 0 {
		o.now = o.rest
		err := o.raw.Write(o.doTry)
		if err == nil {
			err = o.err
		}
		o.now = nil
		if err != nil {
			o.c.note(causeOf(err))
			o.unhold()
			return false, err
		}
		if o.tried == 0 {
			return false, nil // the lock stays with the frame that is half written
		}
		o.rest = o.rest[o.tried:]
	}
	o.unhold()
	if len(o.left) > 0 || o.credit > 0 {
		return false, nil
	}
	o.cur = nil
	o.box.pool.Put(b.data)
	return true, nil
}

func (o *outflow) unhold() {
	o.rest = nil
	if cap(o.flat) > keepFlat {
		o.flat = nil
	}
	o.c.wmu.Unlock()
}

// send may wait for the peer's flow control and for its kernel's. (sink)
func (o *outflow) send(b *batch, credit int) error {
	if o.cur != b.data {
		o.begin(b, credit)
	}
	for {
		if len(o.rest) > 0 {
			_, err := o.c.Conn.Write(o.rest)
			o.unhold()
			if err != nil {
				o.c.note(causeOf(err))
				return err
			}
		}
		if len(o.left) == 0 && o.credit == 0 {
			o.cur = nil
			o.box.pool.Put(b.data)
			return nil
		}
		o.c.wmu.Lock()
		if o.rest = o.frame(*b.data); len(o.rest) > 0 {
			continue
		}
		o.unhold()
		select {
		case <-o.change:
			o.credit += o.box.takeCredit()
		case <-o.c.in.gone:
			return ErrNotSent
		}
	}
}
