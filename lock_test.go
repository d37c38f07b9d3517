package slotmesh_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh"
	"github.com/slotmesh/slotmesh/slotmeshtest"
)

// TestLock runs the behaviour of locks.
func TestLock(t *testing.T) {
	parallel(t)
	onOneAndThree(t, map[string]func(*testing.T, pair){
		"one holder at a time":     lockExcludes,
		"first come, first served": lockInOrder,
		"try":                      lockTry,
		"tokens grow":              lockTokens,
		"unlock twice":             lockUnlockTwice,
		"unlock without time":      lockUnlockWithoutTime,
		"whoever leaves the line":  lockLeavesLine,
		"not a key":                lockIsNoKey,
		"bad input":                lockBadInput,
	})
}

func mustLock(t *testing.T, c *slotmesh.Cache, key string) *slotmesh.Lock {
	t.Helper()
	l, err := c.Lock(t.Context(), key, 10*time.Second)
	if err != nil {
		t.Fatalf("Lock = %v", err)
	}
	return l
}

func lockExcludes(t *testing.T, p pair) {
	for i := range 3 {
		key := unique(t, strconv.Itoa(i))
		var inside, most, rounds atomic.Int64
		fromAll(p, 12/len(p.all), func(c *slotmesh.Cache) {
			for range 5 {
				l, err := c.Lock(t.Context(), key, 10*time.Second)
				if err != nil {
					t.Errorf("Lock = %v", err)
					return
				}
				if n := inside.Add(1); n > most.Load() {
					most.Store(n)
				}
				rounds.Add(1)
				if !l.Held() {
					t.Error("a lock just taken is not held")
				}
				inside.Add(-1)
				wantErr(t, "Unlock", l.Unlock(t.Context()), nil)
			}
		})
		if most.Load() != 1 || rounds.Load() != int64(12/len(p.all)*len(p.all)*5) {
			t.Errorf("%d holders at once in %d rounds, want 1", most.Load(), rounds.Load())
		}
	}
}

func awaitInLine(t *testing.T, p pair, want int) {
	t.Helper()
	await(t, "it stands in line", func() error {
		waiting := 0
		for _, c := range p.all {
			waiting += c.Stats().Guests
		}
		if waiting != want {
			return fmt.Errorf("%d wait, want %d", waiting, want)
		}
		return nil
	})
}

func lockInOrder(t *testing.T, p pair) {
	key := unique(t, "")
	first := mustLock(t, p.w, key)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a line takes long on a busy machine
	defer cancel()
	order := make(chan int, 8)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			l, err := p.all[i%len(p.all)].Lock(ctx, key, 10*time.Second)
			if err != nil {
				t.Errorf("Lock = %v", err)
				return
			}
			order <- i
			wantErr(t, "Unlock", l.Unlock(t.Context()), nil)
		})
		awaitInLine(t, p, i+1)
	}
	wantErr(t, "Unlock", first.Unlock(t.Context()), nil)
	wg.Wait()
	close(order)
	var got []int
	for i := range order {
		got = append(got, i)
	}
	if !slices.Equal(got, []int{0, 1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("callers were served in the order %v", got)
	}
}

func lockTry(t *testing.T, p pair) {
	key := unique(t, "")
	l, err := p.w.TryLock(t.Context(), key, 10*time.Second)
	if err != nil {
		t.Fatalf("TryLock = %v", err)
	}
	for _, c := range p.all {
		_, err := c.TryLock(t.Context(), key, 10*time.Second)
		wantErr(t, "TryLock of a held lock", err, slotmesh.ErrLocked)
	}
	wantErr(t, "Unlock", l.Unlock(t.Context()), nil)
	late, cancel := context.WithTimeout(t.Context(), -1)
	defer cancel()
	for name, lock := range map[string]func(context.Context, string, time.Duration) (*slotmesh.Lock, error){"Lock": p.r.Lock, "TryLock": p.r.TryLock} {
		if _, err := lock(late, unique(t, "free"), 10*time.Second); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, slotmesh.ErrLocked) {
			t.Errorf("%s of a free lock by one without time = %v, want its context's error alone", name, err)
		}
	}
	again, err := p.r.TryLock(t.Context(), key, 10*time.Second)
	if err != nil {
		t.Fatalf("TryLock of a free lock = %v", err)
	}
	wantErr(t, "Unlock", again.Unlock(t.Context()), nil)
}

func lockTokens(t *testing.T, p pair) {
	key, last := unique(t, ""), uint64(0)
	for i := range 6 {
		l := mustLock(t, p.all[i%len(p.all)], key)
		if l.Token() <= last || l.Key() != key {
			t.Errorf("token %d of %q after %d", l.Token(), l.Key(), last)
		}
		last = l.Token()
		wantErr(t, "Unlock", l.Unlock(t.Context()), nil)
	}
}

func lockUnlockTwice(t *testing.T, p pair) {
	key := unique(t, "")
	l := mustLock(t, p.r, key)
	wantErr(t, "Unlock", l.Unlock(t.Context()), nil)
	select {
	case <-l.Lost():
	default:
		t.Error("Lost is open after Unlock")
	}
	other := mustLock(t, p.w, key)
	wantErr(t, "second Unlock", l.Unlock(t.Context()), nil)
	_, err := p.r.TryLock(t.Context(), key, time.Second)
	wantErr(t, "TryLock after a second Unlock", err, slotmesh.ErrLocked)
	if l.Held() || !other.Held() {
		t.Errorf("Held = %v and %v, want false and true", l.Held(), other.Held())
	}
	wantErr(t, "Unlock", other.Unlock(t.Context()), nil)
}

// A holder whose request was cancelled gives the lock back all the same.
func lockUnlockWithoutTime(t *testing.T, p pair) {
	key := unique(t, "")
	l, err := p.r.Lock(t.Context(), key, time.Hour)
	if err != nil {
		t.Fatalf("Lock = %v", err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "Unlock", l.Unlock(done), context.Canceled)
	within(t, time.Minute, "the next Lock", func() {
		l := mustLock(t, p.w, key)
		wantErr(t, "Unlock", l.Unlock(t.Context()), nil)
	})
}

func lockLeavesLine(t *testing.T, p pair) {
	key := unique(t, "")
	held := mustLock(t, p.w, key)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := p.r.Lock(ctx, key, 10*time.Minute)
		wantErr(t, "Lock of the one who left", err, context.Canceled)
	})
	awaitInLine(t, p, 1)
	cancel()
	wg.Wait()
	within(t, time.Minute, "the next Lock", func() {
		wantErr(t, "Unlock", held.Unlock(t.Context()), nil)
		l := mustLock(t, p.r, key)
		wantErr(t, "Unlock", l.Unlock(t.Context()), nil)
	})
}

// A lock is renewed for as long as it is held. In virtual time: a busy machine may
// renew late by more than the TTL, and the lock is lost.
func TestLockIsRenewed(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: nodes, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
				l, err := c.Node("n1").Lock(t.Context(), "key", 500*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				for range 30 {
					c.Advance(50 * time.Millisecond)
					other, err := c.Node(fmt.Sprint("n", nodes)).TryLock(t.Context(), "key", time.Second)
					if !errors.Is(err, slotmesh.ErrLocked) {
						t.Fatalf("TryLock = %v, %v while the lock is held (%v)", other, err, l.Held())
					}
				}
				wantErr(t, "Unlock", l.Unlock(t.Context()), nil)
			})
		})
	}
}

// Answers that come later than the lock's time say nothing of who has it: whoever asks
// has it soon after they come in time again.
func TestLockAnsweredLate(t *testing.T) {
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 4}, func(t *testing.T, c *slotmeshtest.Cluster) {
		key, ttl := keyServedBy(t, c.Node("n2")), 100*time.Millisecond
		for name, lock := range map[string]func(context.Context, string, time.Duration) (*slotmesh.Lock, error){"Lock": c.Node("n1").Lock, "TryLock": c.Node("n1").TryLock} {
			c.SetLink("n1", "n2", slotmeshtest.Link{Delay: 300 * time.Millisecond})
			began := time.Now()
			var mended sync.WaitGroup
			mended.Go(func() {
				c.Advance(2 * time.Second)
				c.SetLink("n1", "n2", slotmeshtest.Link{})
			})
			l, err := lock(t.Context(), key, ttl)
			mended.Wait()
			if err != nil || !l.Held() {
				t.Fatalf("%s after %v = %v, want a lock", name, time.Since(began), err)
			}
			if took := time.Since(began); took < 2*time.Second || took > 4*time.Second {
				t.Errorf("%s took %v, want 2s to 4s", name, took)
			}
			wantErr(t, "Unlock", l.Unlock(t.Context()), nil)
			c.SetLink("n1", "n2", slotmeshtest.Link{Delay: 300 * time.Millisecond})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			if _, err := lock(ctx, key, ttl); !errors.Is(err, slotmesh.ErrLocked) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s that is always answered late = %v", name, err)
			}
			cancel()
			began = time.Now()
			_, err = lock(t.Context(), key, ttl)
			if took := time.Since(began); err == nil || took > 5500*time.Millisecond {
				t.Errorf("%s without a deadline that is always answered late = %v after %v, want an error after WithOpTimeout", name, err, took)
			}
			c.SetLink("n1", "n2", slotmeshtest.Link{})
			c.Advance(2 * time.Second)
		}
	})
}

// TestLockOfACallerThatLeft has a caller leave before it hears that it was granted the
// lock, and the primary stall before it hears of that: another takes over. The lock is
// given back there, long before its ttl has passed.
func TestLockOfACallerThatLeft(t *testing.T) {
	majority := []slotmesh.Option{slotmesh.WithPartitionPolicy(slotmesh.Majority)}
	slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: 3, Seed: 3, Options: majority}, func(t *testing.T, c *slotmeshtest.Cluster) {
		key := keyServedBy(t, c.Node("n2"))
		const ttl = 10 * time.Minute
		c.SetLink("n1", "n2", slotmeshtest.Link{Delay: 50 * time.Millisecond})
		ctx, leave := context.WithTimeout(t.Context(), 80*time.Millisecond)
		defer leave()
		if _, err := c.Node("n1").Lock(ctx, key, ttl); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Lock = %v, want %v", err, context.DeadlineExceeded)
		}
		if _, err := c.Node("n3").TryLock(t.Context(), key, ttl); !errors.Is(err, slotmesh.ErrLocked) {
			t.Fatalf("TryLock = %v, want %v: the call has not come yet", err, slotmesh.ErrLocked)
		}
		c.Pause("n2")
		c.Advance(4 * time.Second)
		c.Resume("n2")
		c.Await("the lock is free", func() error {
			_, err := c.Node("n3").TryLock(t.Context(), key, ttl)
			return err
		})
	})
}

func lockIsNoKey(t *testing.T, p pair) {
	key, ctx := unique(t, ""), t.Context()
	l := mustLock(t, p.w, key)
	if ok, err := p.r.Exists(ctx, key); ok || err != nil {
		t.Errorf("Exists = %v, %v, want false", ok, err)
	}
	set(t, p.r, key, "v", slotmesh.IfAbsent())
	if seen := scanned(t, p.r, slotmesh.ScanPrefix(key)); len(seen) != 1 {
		t.Errorf("Scan = %v, want the key alone", seen)
	}
	_, _ = p.r.Delete(ctx, key)
	_, err := p.r.TryLock(ctx, key, time.Second)
	wantErr(t, "TryLock after Delete", err, slotmesh.ErrLocked)
	wantErr(t, "Unlock", l.Unlock(ctx), nil)
}

func lockBadInput(t *testing.T, p pair) {
	ctx := t.Context()
	for _, ttl := range []time.Duration{0, -1, 99 * time.Millisecond, 25 * time.Hour} {
		_, err := p.r.Lock(ctx, "x", ttl)
		wantErr(t, fmt.Sprintf("Lock for %v", ttl), err, slotmesh.ErrInvalid)
	}
	_, err := p.r.TryLock(ctx, strings.Repeat("k", 64<<10+1), time.Second)
	wantErr(t, "TryLock of a long key", err, slotmesh.ErrTooLarge)
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err = p.r.Lock(done, "x", time.Second)
	wantErr(t, "Lock with a done context", err, context.Canceled)
}

// In virtual time: on a busy machine the time may be up before there is a line.
func TestLockTimeIsUpInLine(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			slotmeshtest.Simulate(t, slotmeshtest.Simulation{Nodes: nodes, Seed: 1}, func(t *testing.T, c *slotmeshtest.Cluster) {
				held := mustLock(t, c.Node("n1"), "key")
				for i := range nodes {
					ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
					_, err := c.Node(fmt.Sprint("n", i+1)).Lock(ctx, "key", time.Second)
					cancel()
					wantErr(t, "Lock whose time is up", err, slotmesh.ErrLocked)
					wantErr(t, "Lock whose time is up", err, context.DeadlineExceeded)
				}
				wantErr(t, "Unlock", held.Unlock(t.Context()), nil)
			})
		})
	}
}

// keyServedBy returns a key whose slot a node serves.
func keyServedBy(t *testing.T, c *slotmesh.Cache) string {
	t.Helper()
	for i := range 100_000 {
		key := fmt.Sprintf("%s%d", t.Name(), i)
		if owner, err := c.Cluster().Owner(key); err == nil && owner.Self {
			return key
		}
	}
	t.Fatal("the node serves no slot")
	return ""
}

// TestLockOutlivesItsPrimary closes the node that serves a held lock's slot.
func TestLockOutlivesItsPrimary(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	key := keyServedBy(t, caches[2])
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	held, err := caches[0].Lock(ctx, key, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	next := make(chan *slotmesh.Lock, 1)
	go func() {
		l, err := caches[1].Lock(ctx, key, 5*time.Second)
		if err != nil {
			t.Errorf("Lock = %v", err)
		}
		next <- l
	}()
	wantErr(t, "Close of the primary", caches[2].Close(), nil)
	_, err = caches[1].TryLock(ctx, key, time.Second)
	wantErr(t, "TryLock after the failover", err, slotmesh.ErrLocked)
	if !held.Held() {
		t.Fatal("the lock was lost by a failover")
	}
	wantErr(t, "Unlock", held.Unlock(ctx), nil)
	if l := <-next; l != nil && l.Token() <= held.Token() {
		t.Errorf("token %d after %d", l.Token(), held.Token())
	}
}

// TestLockOfADeadHolder closes the node that holds a lock: the lock is free when
// its time has passed.
func TestLockOfADeadHolder(t *testing.T) {
	parallel(t)
	caches := slotmeshtest.Start(t, 3)
	key := keyServedBy(t, caches[2])
	held, err := caches[0].Lock(t.Context(), key, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Close", caches[0].Close(), nil)
	receive(t, "the loss of the lock", held.Lost())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l, err := caches[1].Lock(ctx, key, time.Second)
	if err != nil || l.Token() <= held.Token() {
		t.Fatalf("Lock = %v, %v, want a token above %d", l, err, held.Token())
	}
	wantErr(t, "Unlock", l.Unlock(ctx), nil)
	wantErr(t, "Unlock on the closed node", held.Unlock(ctx), nil)
}
