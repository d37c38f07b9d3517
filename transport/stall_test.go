package transport

import (
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
)

func TestStalledReaderDoesNotGrowMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := newMemory()
		const limit = 1 << 20
		hb := newHandler()
		started := make(chan struct{}, 1)
		hb.request = func(p *Peer, r *Request) {
			select {
			case started <- struct{}{}:
			default:
			}
		}
		a := startNode(t, nw, 2, newHandler(), nil)
		b := startNode(t, nw, 3, hb, func(c *Config) { c.QueueBytes = limit })
		r := rawConnect(t, a, b, 1) // and never reads
		r.send(t, r.data, message(kindRequest, []byte{0x91, 1}))
		receive(t, started)
		p := b.Peer(nodeID(1))
		value := make([]byte, 10_000)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)

		fill(t, p)
		if q := p.Queued(); q < limit || q > limit+softBatch {
			t.Errorf("%d bytes queued, want about %d", q, limit)
		}
		if _, err := ask(t, p, &Request{}); !errors.Is(err, ErrOverloaded) {
			t.Errorf("Call = %v, want ErrOverloaded", err)
		}
		// Answers and acks still go in, up to twice that; then the peer is let go.
		for range limit / len(value) / 2 {
			p.Respond(1, &Response{Result: Result{Value: value}})
		}
		if err := p.SendAck(&AppendAck{Version: 1}); err != nil || !p.Up() {
			t.Fatalf("SendAck = %v, up %v", err, p.Up())
		}
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 32<<20 {
			t.Errorf("heap grew by %d MiB", grown>>20)
		}
		for range limit / len(value) {
			p.Respond(1, &Response{Result: Result{Value: value}})
		}
		if c := b.down(t); c != CauseOther {
			t.Errorf("cause %d, want CauseOther", c)
		}
		if !errors.Is(p.Err(), ErrStalled) {
			t.Errorf("Err = %v, want ErrStalled", p.Err())
		}
	})
}

// fill queues appends until neither the queue nor flow control takes more. It wants
// all goroutines in a bubble: only there is it certain that nobody is still sending.
func fill(t testing.TB, p *Peer) {
	t.Helper()
	app := &Append{Records: []Record{{Value: make([]byte, 10_000)}}}
	for range 10_000 { // 100 MB
		err := p.SendAppend(app)
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrOverloaded) {
			t.Fatalf("SendAppend = %v, want ErrOverloaded", err)
		}
		q := p.Queued()
		synctest.Wait()
		if p.Queued() == q {
			return
		}
	}
	t.Fatal("the queue takes all")
}

// While a peer does not read its answers its requests are answered, not run.
func TestRequestsOfAStalledReaderAreNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := newMemory()
		const limit = 1 << 20
		hb := newHandler()
		ran := make(chan uint64, 100)
		hb.request = func(_ *Peer, r *Request) { ran <- r.ID }
		a := startNode(t, nw, 2, newHandler(), nil)
		b := startNode(t, nw, 3, hb, func(c *Config) { c.QueueBytes = limit })
		r := rawConnect(t, a, b, 1)
		r.send(t, r.data, message(kindRequest, []byte{0x91, 1}))
		receive(t, ran)
		p := b.Peer(nodeID(1))
		fill(t, p)
		q := p.Queued()
		r.send(t, r.data, message(kindRequest, []byte{0x91, 2}))
		synctest.Wait()
		if len(ran) != 0 || p.Queued() == q {
			t.Fatalf("the request was run %d times, %d bytes queued, %d before", len(ran), p.Queued(), q)
		}
		d := newDecoder(b.id, 80<<20, 8<<20)
		for {
			var f frame
			if err := r.data.RecvMsg(&f); err != nil {
				t.Fatal(err)
			}
			for rest := f.b; len(rest) > 0; {
				k, msg, more, err := next(rest)
				if err != nil {
					t.Fatal(err)
				}
				d.open(msg)
				if id := d.responseID(); k == kindResponse && id == 2 {
					if rsp := d.response(id); rsp.Code != CodeOverloaded {
						t.Errorf("code %d, want CodeOverloaded", rsp.Code)
					}
					return
				}
				rest = more
			}
			f.free()
		}
	})
}

// Neither is a peer waited for that does not read what large messages need.
func TestLargeMessagesOfAStalledReaderEndItsSession(t *testing.T) {
	for name, send := range map[string]func(s *session){
		"an answer":  func(s *session) { s.p.respond(s, 1, &Response{Result: Result{Value: make([]byte, LargeMessage)}}) },
		"a question": func(s *session) { _ = s.onWhole(s.data.dec, message(kindVoid, []byte{0x90})) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, newHandler(), nil)
			_, ba := connect(t, a, b)
			s := ba.session.Load()
			occupy(t, s.data.out)
			s.data.out.mu.Lock()
			s.data.out.queued += 2 * s.data.out.limit
			s.data.out.mu.Unlock()
			send(s)
			b.down(t)
		})
	}
}
