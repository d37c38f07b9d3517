package transport

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestLatenessIsWhatAQueueAdded(t *testing.T) {
	const offset = 1_000_000_000 // between the two clocks
	var l lateness
	for i, tt := range []struct {
		sent, took int64
		want       bool
	}{
		{1_000, 300, false},
		{2_000, 200, false},
		{3_000, 10_100, false},         // late by 9.9 ms of 10
		{4_000, 10_300, true},          // by 10.1
		{12_000_000, 500, false},       // another window
		{12_001_000, 10_300, true},     // still against the one before
		{60_000_000, 3_000_000, false}, // the first after a while says nothing
		{60_001_000, 3_000_100, false}, // nor does the next
		{60_002_000, 100, false},       // now it is known
		{60_003_000, 3_000_000, true},
	} {
		r := &Request{Timeout: 10_000, Sent: tt.sent}
		if got := l.expired(r, tt.sent+offset+tt.took); got != tt.want {
			t.Errorf("request %d: expired %v, want %v", i, got, tt.want)
		}
	}
}

// What waited behind a slow handler until its deadline is not run.
func TestExpiredRequestIsNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hb := newHandler()
		ran, gate := make(chan string, 10), make(chan struct{})
		hb.request = func(p *Peer, r *Request) {
			ran <- string([]byte(r.Key))
			if r.Key == "slow" {
				<-gate
			}
			echo(p, r)
		}
		nw := newMemory()
		a, b := startNode(t, nw, 1, newHandler(), nil), startNode(t, nw, 2, hb, nil)
		ab, _ := connect(t, a, b)
		<-time.After(time.Second) // at 0 no request has a time
		errs := make(chan error, 3)
		call := func(key string, timeout time.Duration) {
			ab.Call(time.Now().Add(timeout), &Request{Call: Call{Key: key}}, func(_ *Response, err error) { errs <- err })
		}
		call("first", patience)
		if err := receive(t, errs); err != nil {
			t.Fatal(err)
		}
		call("slow", patience)
		for _, want := range []string{"first", "slow"} {
			if key := receive(t, ran); key != want {
				t.Fatalf("%s ran, want %s", key, want)
			}
		}
		call("expired", 50*time.Millisecond)
		if err := receive(t, errs); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrLost) {
			t.Errorf("err = %v, want that of a deadline, and ErrLost", err)
		}
		time.AfterFunc(50*time.Millisecond, func() { close(gate) })
		call("last", patience)
		for range 2 {
			if err := receive(t, errs); err != nil {
				t.Fatal(err)
			}
		}
		if key := receive(t, ran); key != "last" || len(ran) != 0 {
			t.Errorf("%s ran and %d more, want only the last", key, len(ran))
		}
	})
}
