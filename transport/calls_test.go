package transport

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestDeadlinesInVirtualTime also shows that whole transports live in a
// synctest bubble, and that none of their goroutines remains.
func TestDeadlinesInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := newMemory()
		hb := newHandler()
		timeouts := make(chan int64, 100)
		hb.request = func(_ *Peer, r *Request) { timeouts <- r.Timeout } // never answered
		a, b := startNode(t, nw, 1, newHandler(), nil), startNode(t, nw, 2, hb, nil)
		ab, _ := connect(t, a, b)
		for _, d := range []time.Duration{5 * time.Second, 30 * time.Millisecond, time.Millisecond, time.Minute, time.Hour} {
			began := time.Now()
			errs := make(chan error, 1)
			ab.Call(began.Add(d), &Request{}, func(_ *Response, err error) { errs <- err })
			if got := time.Duration(<-timeouts) * time.Microsecond; got != d {
				t.Errorf("timeout of %v travelled as %v", d, got)
			}
			err := <-errs
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrLost) {
				t.Errorf("err = %v", err)
			}
			if took := time.Since(began); took < d || took > d+2*time.Millisecond {
				t.Errorf("expired after %v, want %v", took, d)
			}
		}
		errs := make(chan error, 1)
		ab.Call(time.Now(), &Request{}, func(_ *Response, err error) { errs <- err })
		if err := <-errs; !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrNotSent) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestManyDeadlinesExpireInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := newMemory()
		a, b := startNode(t, nw, 1, newHandler(), nil), startNode(t, nw, 2, newHandler(), nil)
		ab, _ := connect(t, a, b)
		const n = 500
		late := make(chan time.Duration, n)
		for i := range n {
			at := time.Now().Add(time.Duration((i*7919)%n+1) * 10 * time.Millisecond)
			ab.Call(at, &Request{}, func(*Response, error) { late <- time.Since(at) })
		}
		for range n {
			if l := <-late; l < 0 || l > 2*time.Millisecond {
				t.Errorf("expired %v after its deadline", l)
			}
		}
	})
}

// What has not left is withdrawn: the peer never sees it.
func TestExpiredAndCancelledCallsInTheQueueAreWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := newMemory()
		hb := newHandler()
		got := make(chan string, 10)
		hb.request = func(_ *Peer, r *Request) { got <- string(append([]byte(nil), r.Key...)) }
		a, b := startNode(t, nw, 1, newHandler(), nil), startNode(t, nw, 2, hb, nil)
		ab, _ := connect(t, a, b)
		synctest.Wait()
		out := ab.session.Load().data.out
		occupy(t, out)
		errs := make(chan error, 10)
		done := func(_ *Response, err error) { errs <- err }
		ab.Call(time.Now().Add(time.Second), &Request{Call: Call{Key: "expired"}}, done)
		cancelled := ab.Call(time.Time{}, &Request{Call: Call{Key: "cancelled"}}, done)
		kept := ab.Call(time.Time{}, &Request{Call: Call{Key: "kept"}}, done)
		if err := <-errs; !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
		if pending, sent := ab.Cancel(cancelled); !pending || sent {
			t.Errorf("Cancel = %v, %v, want pending and not sent", pending, sent)
		}
		if pending, _ := ab.Cancel(cancelled); pending {
			t.Error("cancelled twice")
		}
		vacate(out)
		synctest.Wait()
		if k := <-got; k != "kept" || len(got) != 0 {
			t.Errorf("%q arrived, and %d more", k, len(got))
		}
		if pending, sent := ab.Cancel(kept); !pending || !sent {
			t.Errorf("Cancel = %v, %v, want pending and sent", pending, sent)
		}
		if len(errs) != 0 {
			t.Error("done ran for a cancelled call")
		}
	})
}

func TestLateAnswersAreDropped(t *testing.T) {
	nw := newMemory()
	hb := newHandler()
	ids := make(chan uint64, 1)
	hb.request = func(p *Peer, r *Request) {
		if r.Key == "late" {
			ids <- r.ID
		} else {
			echo(p, r)
		}
	}
	a, b := startNode(t, nw, 1, newHandler(), nil), startNode(t, nw, 2, hb, nil)
	ab, ba := connect(t, a, b)
	id := ab.Call(time.Time{}, &Request{Call: Call{Key: "late"}}, func(*Response, error) { t.Error("done of a cancelled call") })
	late := receive(t, ids)
	ab.Cancel(id)
	ba.Respond(late, &Response{})
	ba.Respond(late+1, &Response{})
	ba.Respond(0, &Response{})
	if _, err := ask(t, ab, &Request{}); err != nil {
		t.Error(err)
	}
}

// The table of calls against a map.
// Nor is an answer to a call of before the peer was forgotten taken for a later call's.
func TestAnswersFromBeforeAPeerWasForgottenAreDropped(t *testing.T) {
	hb := newHandler()
	asked := make(chan uint64, 2)
	hb.request = func(_ *Peer, r *Request) { asked <- r.ID }
	a, b := startNode(t, loopback{}, 1, newHandler(), nil), startNode(t, loopback{}, 2, hb, nil)
	ab, ba := connect(t, a, b)
	ab.Call(time.Time{}, &Request{}, func(*Response, error) {})
	old := receive(t, asked)
	a.SetPeers(nil)
	a.down(t)
	b.down(t)
	await(t, func() bool { return a.Peer(b.id) == nil })
	a.expect(b.at())
	ab = a.up(t)
	b.up(t)
	got := make(chan string, 2)
	ab.Call(time.Time{}, &Request{}, func(r *Response, err error) {
		if err != nil {
			got <- err.Error()
			return
		}
		got <- string(r.Value)
	})
	anew := receive(t, asked)
	ba.Respond(old, &Response{Result: Result{Value: []byte("old")}})
	ba.Respond(anew, &Response{Result: Result{Value: []byte("new")}})
	if v := receive(t, got); v != "new" {
		t.Errorf("the call was answered %q, want its own answer", v)
	}
}

func TestCallsAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := calls{free: -1}
		model := map[uint64]int64{}
		var ids []uint64
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				deadline := rapid.Int64Range(1, 100).Draw(t, "deadline")
				id, _ := c.add(call{deadline: deadline})
				if _, ok := model[id]; ok || id == 0 {
					t.Fatalf("ID %d given twice", id)
				}
				model[id] = deadline
				ids = append(ids, id)
			},
			"take": func(t *rapid.T) {
				id := rapid.SampledFrom(append([]uint64{0, 1, 1 << 50}, ids...)).Draw(t, "id")
				_, want := model[id]
				if _, got := c.take(id); got != want {
					t.Fatalf("take(%d) = %v, want %v", id, got, want)
				}
				delete(model, id)
			},
			"expire": func(t *rapid.T) {
				now := rapid.Int64Range(0, 101).Draw(t, "now")
				late, earliest := c.expire(now)
				for _, s := range late {
					if d, ok := model[s.id]; !ok || d > now {
						t.Fatalf("call %d expired at %d", s.id, now)
					}
					delete(model, s.id)
				}
				want := int64(noDeadline)
				for _, d := range model {
					want = min(want, d)
				}
				if earliest != want {
					t.Fatalf("earliest %d, want %d", earliest, want)
				}
			},
			"": func(t *rapid.T) {
				if c.live != len(model) {
					t.Fatalf("%d live, want %d", c.live, len(model))
				}
			},
		})
	})
}
