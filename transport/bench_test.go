package transport

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkCall measures calls between two nodes in this process over
// loopback, 100-byte values answered in place. CPU is that of both ends.
func BenchmarkCall(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		for _, op := range []Op{OpGet, OpSet} {
			b.Run(fmt.Sprintf("%s/callers=%d", map[Op]string{OpGet: "get", OpSet: "set"}[op], callers), func(b *testing.B) {
				benchmarkCall(b, op, callers)
			})
		}
	}
}

func benchmarkCall(b *testing.B, op Op, callers int) {
	hb := newHandler()
	value := make([]byte, 100)
	get := &Response{Mark: 1<<40 | 12345, Result: Result{Value: value, Version: 1<<40 | 12345, Found: true}}
	set := &Response{Mark: 1<<40 | 12345, Result: Result{Version: 1<<40 | 12345}}
	hb.request = func(p *Peer, r *Request) {
		if r.Op == OpGet {
			p.Respond(r.ID, get)
		} else {
			p.Respond(r.ID, set)
		}
	}
	x, y := startNode(b, loopback{}, 1, newHandler(), nil), startNode(b, loopback{}, 2, hb, nil)
	p, _ := connect(b, x, y)
	var wg sync.WaitGroup
	b.ReportAllocs()
	cpu := cpuTime()
	b.ResetTimer()
	for c := range callers {
		n := b.N / callers
		if c < b.N%callers {
			n++
		}
		wg.Go(func() {
			c := make(chan error, 1)
			done := func(_ *Response, err error) { c <- err }
			r := Request{CallID: CallID{nodeID(1), 77}, Epoch: 3, Mark: 1<<40 | 12000, Call: Call{Op: op, Slot: 12345, Key: "user:1234567"}}
			if op == OpSet {
				r.Value = value
			}
			for range n {
				p.Call(time.Now().Add(5*time.Second), &r, done)
				if err := <-c; err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// BenchmarkAppend measures appends and the cumulative acks that answer them.
func BenchmarkAppend(b *testing.B) {
	ha, hb := newHandler(), newHandler()
	hb.append_ = func(p *Peer, a *Append) {
		_ = p.SendAck(&AppendAck{Slot: a.Slot, Epoch: a.Epoch, Version: a.Version, Durable: a.Version})
	}
	acked := make(chan uint64, 1<<16)
	ha.ack = func(_ *Peer, a *AppendAck) { acked <- a.Version }
	x, y := startNode(b, loopback{}, 1, ha, nil), startNode(b, loopback{}, 2, hb, nil)
	p, _ := connect(b, x, y)
	const base, window = 1 << 40, 256
	app := Append{Slot: 77, Epoch: 5, Call: CallID{nodeID(1), 1 << 33}, Records: []Record{{Key: "user:1234567", Value: make([]byte, 100)}}}
	b.ReportAllocs()
	cpu := cpuTime()
	b.ResetTimer()
	done := uint64(0)
	for i := range uint64(b.N) {
		app.Prev, app.Version, app.Mark = base+i, base+i+1, base+done
		app.Records[0].Version = app.Version
		if err := p.SendAppend(&app); err != nil {
			b.Fatal(err)
		}
		for i+1-done >= window {
			done = <-acked - base
		}
	}
	for done < uint64(b.N) {
		done = <-acked - base
	}
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// BenchmarkLarge measures calls that carry a large value both ways.
func BenchmarkLarge(b *testing.B) {
	for _, n := range []int{64 << 10, 1 << 20, 16 << 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			hb := newHandler()
			hb.request = echo
			x, y := startNode(b, loopback{}, 1, newHandler(), nil), startNode(b, loopback{}, 2, hb, nil)
			p, _ := connect(b, x, y)
			r := Request{Call: Call{Op: OpSet, Key: "k", Value: make([]byte, n)}}
			b.SetBytes(2 * int64(n))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ask(b, p, &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
