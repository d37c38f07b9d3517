package simcluster_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/internal/simnet"
	"github.com/slotmesh/slotmesh/transport"
)

// Of many keys asked for together only those of a node that is cut off fail.
func TestOneNodesFailureIsThatOfItsKeysAlone(t *testing.T) {
	t.Parallel()
	const keys = 300
	Run(t, Config{Nodes: 3, Backups: -1, Seed: 5, Policy: node.Majority}, func(sc *Cluster) {
		sc.Fill("n1", keys)
		sc.Isolate("n3")
		ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
		defer cancel()
		calls := make([]node.Call, keys)
		for i := range calls {
			key := fmt.Sprintf("fill%d", i)
			calls[i] = node.Call{Op: transport.OpGet, Slot: hashtag.Slot(key), Key: key}
		}
		results, errs := sc.Node("n1").DoMany(ctx, calls)
		failed := 0
		for i, r := range results {
			switch owner := sc.Owner("n1", calls[i].Key); {
			case owner == "n3":
				failed++
				if !errors.Is(errs[i], context.DeadlineExceeded) {
					t.Errorf("key %d of n3: %v, want that time is up", i, errs[i])
				}
			case errs[i] != nil || string(r.Value) != fmt.Sprintf("value%d", i):
				t.Errorf("key %d of %s: %q, %v", i, owner, r.Value, errs[i])
			}
		}
		if failed == 0 {
			t.Error("no key is n3's")
		}
	})
}

// Many writes while their primaries change each take effect once.
func TestManyWritesSurviveAFailover(t *testing.T) {
	t.Parallel()
	const keys, rounds = 200, 20
	Run(t, Config{Nodes: 3, Seed: 6}, func(sc *Cluster) {
		calls := make([]node.Call, keys)
		for i := range calls {
			key := fmt.Sprintf("count%d", i)
			calls[i] = node.Call{Op: transport.OpIncr, Slot: hashtag.Slot(key), Key: key, Delta: 1}
		}
		go func() {
			sc.Advance(5 * time.Millisecond)
			sc.Kill("n3")
		}()
		for round := range int64(rounds) {
			ctx, cancel := context.WithTimeout(context.Background(), soon)
			results, errs := sc.Node("n1").DoMany(ctx, calls)
			cancel()
			for i := range calls {
				if errs[i] != nil || results[i].Int != round+1 {
					t.Fatalf("round %d, key %d: %d, %v, want %d", round, i, results[i].Int, errs[i], round+1)
				}
			}
		}
	})
}

// A write that was sent may take effect, though its answer comes too late.
func TestManyWritesWithoutAnswerMayTakeEffect(t *testing.T) {
	t.Parallel()
	Run(t, Config{Nodes: 3, Seed: 7}, func(sc *Cluster) {
		key := sc.KeyServedBy("n2")
		sc.Net.SetLink("n1", "n2", simnet.Link{Delay: 300 * time.Millisecond})
		for i := range int64(10) { // who notices first that time is up is chance
			ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
			_, errs := sc.Node("n1").DoMany(ctx, []node.Call{{Op: transport.OpIncr, Slot: hashtag.Slot(key), Key: key, Delta: 1}})
			cancel()
			if !errors.Is(errs[0], node.ErrUnknownOutcome) || !errors.Is(errs[0], context.DeadlineExceeded) {
				t.Errorf("call %d gives %v, want that its outcome is unknown", i, errs[0])
			}
			sc.Advance(time.Second)
			if got, _, err := sc.Get("n2", key); got != fmt.Sprint(i+1) {
				t.Fatalf("after call %d the number is %q, %v", i, got, err)
			}
		}
	})
}

// Without a deadline each of the calls on one key has OpTimeout from when it can be made:
// together they may take longer.
func TestEachCallInOrderHasItsTime(t *testing.T) {
	t.Parallel()
	const delay, each = 20 * time.Millisecond, 100
	adjust := func(_ string, c *node.Config) { c.OpTimeout = time.Second }
	Run(t, Config{Nodes: 3, Seed: 9, Adjust: adjust}, func(sc *Cluster) {
		sc.Net.SetDefault(simnet.Link{Delay: delay})
		calls, key := make([]node.Call, each), sc.KeyHeldBy("n2", "n1")
		for i := range calls {
			calls[i] = node.Call{Op: transport.OpIncr, Slot: hashtag.Slot(key), Key: key, Delta: 1}
		}
		results, errs := sc.Node("n1").DoInOrder(context.Background(), calls)
		for i := range calls {
			if errs[i] != nil || results[i].Int != int64(i+1) {
				t.Fatalf("call %d: %d, %v", i, results[i].Int, errs[i])
			}
		}
	})
}

// Calls on one key keep their order, wherever its primary goes meanwhile.
func TestCallsInOrderWhileSlotsMove(t *testing.T) {
	t.Parallel()
	const keys, each = 60, 5
	Run(t, Config{Nodes: 3, Seed: 8}, func(sc *Cluster) {
		calls := make([]node.Call, keys*each)
		for i := range calls {
			key := fmt.Sprintf("count%d", i%keys)
			calls[i] = node.Call{Op: transport.OpIncr, Slot: hashtag.Slot(key), Key: key, Delta: 1}
		}
		moved := make(chan struct{})
		go func() {
			defer close(moved)
			for _, name := range []string{"n3", "n2", "n3"} {
				sc.Must(sc.StepDown(name, time.Minute))
				sc.Start(name)
				sc.AwaitStable(time.Minute)
			}
			sc.Kill("n2")
		}()
		round := int64(0)
		for more := 20; more > 0; round++ {
			ctx, cancel := context.WithTimeout(context.Background(), soon)
			results, errs := sc.Node("n1").DoInOrder(ctx, calls)
			cancel()
			for i := range calls {
				if want := round*each + int64(i/keys) + 1; errs[i] != nil || results[i].Int != want {
					t.Fatalf("round %d, call %d of key %d: %d, %v, want %d", round, i/keys, i%keys, results[i].Int, errs[i], want)
				}
			}
			select {
			case <-moved:
				more--
			default:
			}
		}
		t.Logf("%d rounds", round)
	})
}
