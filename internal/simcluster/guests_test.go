//go:build !race || slow

package simcluster_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	. "github.com/slotmesh/slotmesh/internal/simcluster"
	"github.com/slotmesh/slotmesh/transport"
)

// TestNemesisOfTransactionsLocksAndLoads has random faults befall a cluster
// whose callers make transactions on two keys that have to stay equal, take a
// lock in turn, and load a key that others invalidate.
func TestNemesisOfTransactionsLocksAndLoads(t *testing.T) {
	t.Parallel()
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			const nodes = 3
			r := rand.New(rand.NewPCG(seed, 2))
			Run(t, Config{Nodes: nodes, Backups: 1, Policy: node.Majority, Seed: seed, Adjust: patient}, func(sc *Cluster) {
				b := &guestLoad{t: t, sc: sc, nodes: nodes, seed: seed, stop: make(chan struct{})}
				var wg sync.WaitGroup
				for c := range 3 {
					wg.Go(func() { b.each(c, b.transact) })
					wg.Go(func() { b.each(10+c, b.lock) })
					wg.Go(func() { b.each(20+c, b.load) })
				}
				wg.Go(func() { b.each(30, b.invalidate) })
				nm := &nemesis{sc: sc, r: r, t: t, begin: time.Now()}
				for range *steps {
					nm.step()
				}
				nm.end()
				close(b.stop)
				wg.Wait()
				b.check()
			})
			if t.Failed() {
				t.Log(again("NemesisOf", seed))
			}
		})
	}
}

type guestLoad struct {
	t     *testing.T
	sc    *Cluster
	nodes int
	seed  uint64
	stop  chan struct{}

	committed, unknown atomic.Int64 // transactions
	holder             sync.Mutex
	until              time.Time // somebody relies on the lock until then
	token              uint64
	locks              atomic.Int64
	source             atomic.Int64 // what a load gives
	cleared            atomic.Int64 // older values were invalidated, and that was acknowledged
	loads, reads       atomic.Int64
}

func (b *guestLoad) each(client int, f func(r *rand.Rand, from string)) {
	r := rand.New(rand.NewPCG(b.seed, uint64(client)+200))
	for {
		select {
		case <-b.stop:
			return
		case <-time.After(time.Duration(5+r.IntN(80)) * time.Millisecond):
		}
		f(r, fmt.Sprintf("n%d", 1+r.IntN(b.nodes)))
	}
}

// do makes a call; what a killed node tells is not known.
func (b *guestLoad) do(from string, c node.Call) (node.Result, error) {
	return b.sc.DoWithin(3*time.Second, from, c)
}

const left, right = "{pair}left", "{pair}right"

func (b *guestLoad) transact(r *rand.Rand, from string) {
	var txn node.Txn
	var values [2]int
	for i, key := range []string{left, right} {
		res, err := b.do(from, node.Call{Op: transport.OpGet, Key: key})
		if err != nil {
			return
		}
		values[i], _ = strconv.Atoi(string(res.Value))
		txn.Checks = append(txn.Checks, node.TxnCheck{Key: key, Version: res.Version})
		if !res.Found {
			txn.Checks[i].Version = 0
		}
	}
	write := r.IntN(3) > 0
	if write {
		next := strconv.AppendInt(nil, int64(values[0]+1), 10)
		txn.Writes = []node.TxnWrite{{Key: left, Value: next}, {Key: right, Value: next}}
	}
	_, err := b.do(from, node.Call{Op: transport.OpTxn, Key: left, Value: txn.Pack(nil)})
	switch {
	case err == nil && values[0] != values[1]:
		b.t.Errorf("a transaction saw %d and %d at one time", values[0], values[1])
	case err == nil && write:
		b.committed.Add(1)
	case errors.Is(err, node.ErrConflict), !write:
	case err != nil:
		b.unknown.Add(1)
	}
}

func (b *guestLoad) lock(r *rand.Rand, from string) {
	const ttl = 2 * time.Second
	token := r.Uint64() | 1
	asked := time.Now()
	res, err := b.do(from, node.Lock{Token: token, TTL: ttl}.Call(0, "lock"))
	if err != nil {
		b.do(from, node.Unlock(token, 0, "lock"))
		return
	}
	fence := res.Version
	if time.Since(asked) > ttl/4 {
		asked = time.Now()
		if _, err := b.do(from, node.Lock{Token: token, TTL: ttl, How: node.LockRenew}.Call(0, "lock")); err != nil {
			return
		}
	}
	now, until := time.Now(), asked.Add(ttl)
	if !now.Before(until) {
		return
	}
	b.holder.Lock()
	if now.Before(b.until) {
		b.t.Errorf("lock %d was granted while %d relied on it for another %v", fence, b.token, b.until.Sub(now))
	}
	if fence <= b.token {
		b.t.Errorf("token %d after %d", fence, b.token)
	}
	b.until, b.token = until, fence
	b.holder.Unlock()
	b.locks.Add(1)
	time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond) // virtual time: its work
	b.holder.Lock()
	if b.token == fence {
		b.until = time.Now()
	}
	b.holder.Unlock()
	b.do(from, node.Unlock(token, 0, "lock"))
}

func (b *guestLoad) load(r *rand.Rand, from string) {
	least := b.cleared.Load()
	l := node.Load{Token: r.Uint64() | 1, Lease: time.Second, Wait: true}
	res, err := b.do(from, l.Call(0, "loaded"))
	switch {
	case err != nil:
		b.do(from, node.Release{Token: l.Token}.Call(0, "loaded"))
	case res.Int == node.LoadGranted:
		value := b.source.Load()
		time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond) // the load; at times longer than the lease
		b.loads.Add(1)
		b.do(from, node.Call{Op: transport.OpSet, Key: "loaded", Value: strconv.AppendInt(nil, value, 10), Version: res.Version, Flags: transport.FlagLease})
	case res.Found:
		b.reads.Add(1)
		if got, _ := strconv.ParseInt(string(res.Value), 10, 64); got < least {
			b.t.Errorf("a load gave %d after all before %d was deleted", got, least)
		}
	}
}

func (b *guestLoad) invalidate(r *rand.Rand, from string) {
	time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
	now := b.source.Add(1)
	for {
		if _, err := b.do(from, node.Call{Op: transport.OpDelete, Key: "loaded"}); err == nil {
			b.cleared.Store(now)
			return
		}
		select {
		case <-b.stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
		from = fmt.Sprintf("n%d", 1+r.IntN(b.nodes))
	}
}

func (b *guestLoad) check() {
	var values [2]int64
	for i, key := range []string{left, right} {
		got, _, err := b.sc.Get(b.sc.Up()[0].Name, key)
		if err != nil {
			b.t.Fatalf("Get(%s) = %v", key, err)
		}
		values[i], _ = strconv.ParseInt(got, 10, 64)
	}
	low, high := b.committed.Load(), b.committed.Load()+b.unknown.Load()
	if values[0] != values[1] || values[0] < low || values[0] > high {
		b.t.Errorf("the pair ends at %v after %d to %d transactions", values, low, high)
	}
	b.t.Logf("%d transactions, %d unknown; %d locks; %d loads, %d reads of them, %d invalidations", low, high-low, b.locks.Load(), b.loads.Load(), b.reads.Load(), b.source.Load())
	if low == 0 || b.locks.Load() == 0 || b.loads.Load() == 0 {
		b.t.Error("nothing happened")
	}
}
