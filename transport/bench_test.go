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
			r := Request{ID2: CallID{nodeID(1), 77}, Epoch: 3, Mark: 1<<40 | 12000, Call: Call{Op: op, Slot: 12345, Key: "user:1234567"}}
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

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
