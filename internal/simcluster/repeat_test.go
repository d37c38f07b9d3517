//go:build slow || (slotmesh_fewslots && !race)

package simcluster_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/internal/simnet"
	"github.com/slotmesh/slotmesh/transport"
)

// The way between the caller and the primary in these tests; everything else
// is near.
const oneWay = 20 * time.Millisecond

// TestRepeats has a case for each row of the table in docs/guarantees.md.
func TestRepeats(t *testing.T) {
	t.Parallel()
	read := node.Call{Op: transport.OpGet}
	write := node.Call{Op: transport.OpIncr, Delta: 1}
	for _, tt := range []struct {
		name    string
		call    node.Call
		fault   func(sc *Cluster) // runs beside the call
		timeout time.Duration
		errs    []error // all of these; none: it succeeds
		after   string  // the value at the end, if it is not "1" or "2"
	}{
		{"read cut before it is sent", read, cutBefore, soon, nil, "1"},
		{"read cut after it is sent", read, resetAfter(oneWay / 2), soon, nil, "1"},
		{"read cut after it ran", read, resetAfter(oneWay * 3 / 2), soon, nil, "1"},
		{"write cut before it is sent", write, cutBefore, soon, nil, "2"},
		{"write cut after it is sent", write, resetAfter(oneWay / 2), soon, nil, "2"},
		{"write cut after it ran", write, resetAfter(oneWay * 3 / 2), soon, nil, "2"},
		{"write whose primary dies before it arrives", write, killAfter(oneWay / 2), soon, nil, "2"},
		{"write whose primary dies after it ran", write, killAfter(oneWay * 3 / 2), soon, nil, "2"},
		{"read that is never sent", read, cutFor(time.Second), 300 * time.Millisecond, []error{context.DeadlineExceeded, node.ErrNoPrimary}, "1"},
		{"read that is never answered", read, resetAfter(oneWay * 3 / 2), oneWay * 7 / 4, []error{context.DeadlineExceeded}, "1"},
		{"write that is never sent", write, cutFor(time.Second), 300 * time.Millisecond, []error{context.DeadlineExceeded, node.ErrNoPrimary}, "1"},
		{"write that is never answered", write, resetAfter(oneWay * 3 / 2), oneWay * 7 / 4, []error{context.DeadlineExceeded, node.ErrUnknownOutcome}, "2"},
		{"write whose caller gives up before it arrives", write, resetAfter(oneWay / 2), oneWay * 3 / 4, []error{context.DeadlineExceeded, node.ErrUnknownOutcome}, "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			Run(t, Config{Nodes: 3, Seed: 7}, func(sc *Cluster) {
				c := tt.call
				c.Key = sc.KeyHeldBy("n2", "n3")
				if err := sc.Set("n1", c.Key, "1"); err != nil {
					t.Fatal(err)
				}
				sc.Net.SetLink("n1", "n2", simnet.Link{Delay: oneWay})
				sc.Advance(time.Second)
				ctx, cancel := context.WithTimeout(context.Background(), tt.timeout)
				defer cancel()
				done := make(chan struct{})
				go func() {
					defer close(done)
					tt.fault(sc)
				}()
				sc.Advance(time.Millisecond) // faults of no delay come first
				r, err := sc.Do(ctx, "n1", c)
				if len(tt.errs) == 0 && err != nil {
					t.Errorf("call = %v, want nil", err)
				}
				for _, want := range tt.errs {
					if !errors.Is(err, want) {
						t.Errorf("call = %v, want %v", err, want)
					}
				}
				if errors.Is(err, node.ErrUnknownOutcome) && !slices.Contains(tt.errs, node.ErrUnknownOutcome) {
					t.Errorf("call = %v, whose outcome is known", err)
				}
				if err == nil && c.Op == transport.OpIncr && r.Int != 2 {
					t.Errorf("Incr = %d, want 2", r.Int)
				}
				<-done
				sc.Heal()
				sc.Advance(5 * time.Second)
				if got, _, err := sc.Get("n3", c.Key); got != tt.after || err != nil {
					t.Errorf("afterwards it is %q, %v, want %q", got, err, tt.after)
				}
			})
		})
	}
}

func cutBefore(sc *Cluster) { cutFor(100 * time.Millisecond)(sc) }

// cutFor ends the connections and lets none come about for a while.
func cutFor(d time.Duration) func(*Cluster) {
	return func(sc *Cluster) {
		sc.Cut("n1", "n2")
		sc.Net.Reset("n1", "n2")
		sc.Advance(d)
		sc.Heal()
	}
}

func resetAfter(d time.Duration) func(*Cluster) {
	return func(sc *Cluster) {
		sc.Advance(d)
		sc.Net.Reset("n1", "n2")
	}
}

func killAfter(d time.Duration) func(*Cluster) {
	return func(sc *Cluster) {
		sc.Advance(d)
		sc.Kill("n2")
	}
}

// The calls of before travel with a copy: a node that got its copy after a
// caller's knowledge of the slot can still say that the call never ran, or what
// it gave.
func TestRepeatsAreAnsweredFromACopiedRing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		delay time.Duration
	}{
		{"primary dies before the write arrives", oneWay / 2},
		{"primary dies after it ran", oneWay * 3 / 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			Run(t, Config{Nodes: 3, Seed: 7}, func(sc *Cluster) {
				key := sc.KeyHeldBy("n2", "n3")
				for range 3 {
					if _, err := sc.Incr("n2", key, 1); err != nil { // n1 hears nothing of it
						t.Fatal(err)
					}
				}
				sc.Restart("n3")
				sc.AwaitStable(time.Minute)
				if owner := sc.Owner("n1", key); owner != "n2" {
					t.Fatalf("%s serves the slot, want n2 as before", owner)
				}
				sc.Net.SetLink("n1", "n2", simnet.Link{Delay: oneWay})
				sc.Advance(time.Second)
				done := make(chan struct{})
				go func() {
					defer close(done)
					killAfter(tt.delay)(sc)
				}()
				if got, err := sc.Incr("n1", key, 1); err != nil || got != 4 {
					t.Errorf("Incr = %d, %v, want 4", got, err)
				}
				<-done
			})
		})
	}
}

// A primary whose recent writes do not reach back to a call that is repeated
// cannot tell whether it ran.
func TestRepeatOfAForgottenCallHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 7}, func(sc *Cluster) {
		key := sc.KeyHeldBy("n2", "n3")
		if err := sc.Set("n1", key, "1"); err != nil {
			t.Fatal(err)
		}
		sc.Net.SetLink("n1", "n2", simnet.Link{Delay: oneWay})
		sc.Advance(time.Second)
		done := make(chan struct{})
		go func() {
			defer close(done)
			sc.Advance(oneWay * 3 / 2)
			sc.Cut("n1", "n2")
			sc.Net.Reset("n1", "n2")
			var wg sync.WaitGroup
			for range 32 {
				wg.Go(func() {
					for range 100 { // more than the slot's ring remembers
						if err := sc.Set("n2", "{"+key+"}", "something else"); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			sc.Heal()
		}()
		if _, err := sc.Incr("n1", key, 1); !errors.Is(err, node.ErrUnknownOutcome) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Incr = %v, want %v before the deadline", err, node.ErrUnknownOutcome)
		}
		<-done
		if got, _, err := sc.Get("n3", key); got != "2" || err != nil {
			t.Errorf("afterwards it is %q, %v, want 2", got, err)
		}
	})
}

// The backup goes on alone, as a fork, and wins: its lineage has all of the loser's, and
// no new claim is made. A call that the loser ran is not run once more there, after
// the loser's records were taken over.
func TestRepeatAtTheWinnerOfAFork(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 7}, func(sc *Cluster) {
		key := sc.KeyHeldBy("n1", "n2")
		_, err := sc.Incr("n3", key, 1)
		sc.Must(err)
		sc.Isolate("n2")
		sc.Advance(4 * time.Second)
		sc.Net.SetOneWay("n1", "n3", simnet.Link{Delay: 400 * time.Millisecond})
		sc.Net.SetOneWay("n3", "n2", simnet.Link{Delay: 900 * time.Millisecond})
		sc.Advance(time.Second)
		done := make(chan error)
		go func() {
			_, err := sc.DoWithin(time.Minute, "n3", node.Call{Op: transport.OpIncr, Key: key, Delta: 1})
			done <- err
		}()
		sc.Advance(450 * time.Millisecond) // it ran, and its answer is on its way
		sc.Heal()
		sc.Cut("n1", "n3")
		sc.Advance(8 * time.Second)
		if err := <-done; err != nil && !errors.Is(err, node.ErrUnknownOutcome) { // nil where n1 was asked by way of n2
			t.Errorf("Incr = %v, want %v", err, node.ErrUnknownOutcome)
		}
		sc.Heal()
		sc.Net.SetDefault(simnet.Link{Delay: 200 * time.Microsecond})
		sc.AwaitStable(time.Minute)
		if v, _, err := sc.Get("n3", key); err != nil || v != "2" {
			t.Errorf("after two calls of Incr Get = %q, %v", v, err)
		}
	})
}
