package slotmesh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

// Batch collects calls of any kind on keys of any slots, which Do makes
// together. It is for one goroutine; the zero Batch is of no use.
type Batch struct {
	c       *Cache
	calls   []node.Call
	results []*BatchResult
	done    bool
}

// BatchResult is what one call of a batch gave, once Do has returned.
type BatchResult struct {
	Item          // of a Get: as of GetItem; otherwise only its Key
	Existed bool  // of a Delete
	Int     int64 // of an Incr: the sum, or with ErrConditionFailed the present number
	Err     error // what the call by itself would have returned
	op      transport.Op
}

// Batch returns an empty batch.
func (c *Cache) Batch() *Batch { return &Batch{c: c} }

// Len returns how many calls were added.
func (b *Batch) Len() int { return len(b.calls) }

func (b *Batch) add(call node.Call, err error) *BatchResult {
	r := &BatchResult{Item: Item{Key: call.Key}, Err: err, op: call.Op}
	b.calls = append(b.calls, call)
	b.results = append(b.results, r)
	return r
}

// Get adds a GetItem.
func (b *Batch) Get(key string) *BatchResult { return b.add(keyCall(transport.OpGet, key), nil) }

// Set adds a Set of value, which must not change before Do has returned.
func (b *Batch) Set(key string, value []byte, opts ...SetOption) *BatchResult {
	call := keyCall(transport.OpSet, key)
	call.Value = value
	err := applySet(&call, opts)
	return b.add(call, err)
}

// Delete adds a Delete.
func (b *Batch) Delete(key string) *BatchResult { return b.add(keyCall(transport.OpDelete, key), nil) }

// Expire adds an Expire.
func (b *Batch) Expire(key string, d time.Duration) *BatchResult {
	call := keyCall(transport.OpExpire, key)
	ms, err := ttlMilli(d)
	call.Expiry, call.Flags = ms, transport.FlagRelative
	return b.add(call, err)
}

// Incr adds an Incr.
func (b *Batch) Incr(key string, delta int64, opts ...IncrOption) *BatchResult {
	call, err := incrCall(key, delta, opts)
	return b.add(call, err)
}

// Do makes the calls and fills in their results. Calls on different keys run
// side by side, and those for one node travel together; calls on one key run
// in the order in which they were added. Each is by itself: together they are
// not atomic, see Txn. A batch can be done once.
//
// It returns the calls' errors joined, but for ErrNotFound, ErrConditionFailed
// and ErrVersionMismatch, which are answers; and ErrInvalid the second time.
func (b *Batch) Do(ctx context.Context) error {
	if b.done {
		return fmt.Errorf("%w: the batch was done before", ErrInvalid)
	}
	b.done = true
	rounds := map[string]int{}
	var places [][]int // of the calls of each round
	for i, call := range b.calls {
		if b.results[i].Err != nil {
			continue
		}
		round := rounds[call.Key]
		rounds[call.Key]++
		if round == len(places) {
			places = append(places, nil)
		}
		places[round] = append(places[round], i)
	}
	for _, at := range places {
		calls := make([]node.Call, len(at))
		for k, i := range at {
			calls[k] = b.calls[i]
		}
		got, errs := b.c.n.DoMany(ctx, calls)
		for k, i := range at {
			b.results[i].take(&got[k], errs[k])
		}
	}
	var faults []error
	for _, r := range b.results {
		if r.Err != nil && !errors.Is(r.Err, ErrNotFound) && !errors.Is(r.Err, ErrConditionFailed) && !errors.Is(r.Err, ErrVersionMismatch) {
			faults = append(faults, r.Err)
		}
	}
	return errors.Join(faults...)
}

func (r *BatchResult) take(got *node.Result, err error) {
	r.Err, r.Int = err, got.Int
	if r.op != transport.OpIncr {
		r.Int = 0
	}
	switch {
	case err != nil:
	case r.op == transport.OpGet && !got.Found:
		r.Err = ErrNotFound
	case r.op == transport.OpGet:
		r.Item = newItem(r.Key, *got)
	case r.op == transport.OpDelete:
		r.Existed = got.Found
	}
}
