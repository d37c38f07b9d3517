package transport

import (
	"fmt"
	"sync"

	"google.golang.org/grpc/mem"
)

// codec passes batches through grpc as they are. It is forced per connection
// and per server, never registered.
type codec struct{ pool *pool }

func (codec) Name() string { return "slotmesh" }

// batch is a message on its way out. grpc frees it into pool once written.
type batch struct {
	data      *[]byte
	pool      mem.BufferPool
	completes bool // holds the last piece of a message
}

// frame is a received message. It stays valid until free.
type frame struct {
	b        []byte
	buf      mem.Buffer // nil: b belongs to the garbage collector, if not borrowed
	borrowed bool       // a part of a read buffer: cannot be kept
	kept     bool
}

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*batch)
	if !ok {
		return nil, fmt.Errorf("transport: cannot send a %T", v)
	}
	return mem.BufferSlice{mem.NewBuffer(b.data, b.pool)}, nil
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return fmt.Errorf("transport: cannot receive into a %T", v)
	}
	switch {
	case len(data) == 0:
		*f = frame{}
	case len(data) == 1:
		data[0].Ref()
		*f = frame{b: data[0].ReadOnlyData(), buf: data[0]}
	case data.Len() > poolMax:
		*f = frame{b: data.Materialize()}
	default:
		// Not grpc's pool, which clears what it gives out.
		p := c.pool.Get(data.Len())
		*p = (*p)[:data.Len()]
		data.CopyTo(*p)
		buf := mem.NewBuffer(p, c.pool)
		*f = frame{b: buf.ReadOnlyData(), buf: buf}
	}
	return nil
}

// keep leaves the frame's bytes to whoever holds a part of them.
func (f *frame) keep() { f.buf, f.kept = nil, true }

func (f *frame) free() {
	if f.buf != nil {
		f.buf.Free()
	}
	*f = frame{}
}

// pool keeps a bounded number of batch buffers. Larger ones are left to the
// garbage collector.
type pool struct {
	mu   sync.Mutex // guards free
	free []*[]byte
}

const (
	poolCount = 64
	poolMin   = 8 << 10
	poolMax   = 256 << 10
)

// Get returns an empty buffer with room for n bytes. The result is never
// shorter than grpc's threshold below which it would not be given back.
func (p *pool) Get(n int) *[]byte {
	if n <= poolMax {
		p.mu.Lock()
		if last := len(p.free) - 1; last >= 0 && cap(*p.free[last]) >= n {
			b := p.free[last]
			p.free = p.free[:last]
			p.mu.Unlock()
			return b
		}
		p.mu.Unlock()
	}
	b := make([]byte, 0, max(n, poolMin))
	return &b
}

// Put takes a buffer back.
func (p *pool) Put(b *[]byte) {
	if cap(*b) > poolMax || cap(*b) < poolMin {
		return
	}
	*b = (*b)[:0]
	p.mu.Lock()
	if len(p.free) < poolCount {
		p.free = append(p.free, b)
	}
	p.mu.Unlock()
}
