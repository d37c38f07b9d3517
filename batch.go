package slotmesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	// Item is of a Get as of GetItem, of an Exists without the value. Of GetSet,
	// GetDelete and GetExpire it holds the value that was there, of others only
	// the key.
	Item
	Existed bool  // there was such a key; of all but Set, Append, CompareAndSwap and Incr
	Int     int64 // of an Incr: the sum, or with ErrConditionFailed the present number; of an Append the length
	Err     error // what the call by itself would have returned
	op      transport.Op
	old     bool // the value that was there is wanted
}

var errBatchDone = fmt.Errorf("%w: the batch was done before", ErrInvalid)

// Batch returns an empty batch.
func (c *Cache) Batch() *Batch { return &Batch{c: c} }

// fewCalls are those that a batch has room for from the first on.
const fewCalls = 8

// Len returns how many calls were added.
func (b *Batch) Len() int { return len(b.calls) }

func (b *Batch) add(call node.Call, err error) *BatchResult {
	if b.done && err == nil {
		err = errBatchDone
	}
	r := &BatchResult{Item: Item{Key: call.Key}, Err: err, op: call.Op, old: call.Flags&transport.FlagReturnOld != 0}
	if b.calls == nil {
		b.calls, b.results = make([]node.Call, 0, fewCalls), make([]*BatchResult, 0, fewCalls)
	}
	b.calls = append(b.calls, call)
	b.results = append(b.results, r)
	return r
}

// Get adds a GetItem.
func (b *Batch) Get(key string) *BatchResult { return b.add(keyCall(transport.OpGet, key), nil) }

// Exists adds an Exists, whose result has the key's Version and Expires too.
func (b *Batch) Exists(key string) *BatchResult { return b.add(keyCall(transport.OpPeek, key), nil) }

// Set adds a Set of value, which must not change before Do has returned.
func (b *Batch) Set(key string, value []byte, opts ...SetOption) *BatchResult {
	return b.write(transport.OpSet, key, value, 0, opts)
}

// GetSet adds a GetSet; of value what Set says is true.
func (b *Batch) GetSet(key string, value []byte, opts ...SetOption) *BatchResult {
	return b.write(transport.OpSet, key, value, transport.FlagReturnOld, opts)
}

// Append adds an Append; of suffix what Set says of its value is true.
func (b *Batch) Append(key string, suffix []byte, opts ...SetOption) *BatchResult {
	return b.write(transport.OpAppend, key, suffix, 0, opts)
}

func (b *Batch) write(op transport.Op, key string, value []byte, flags uint16, opts []SetOption) *BatchResult {
	call := keyCall(op, key)
	call.Value = value
	err := applySet(&call, opts)
	call.Flags |= flags
	return b.add(call, err)
}

// CompareAndSwap adds a CompareAndSwap; of old and next what Set says of its
// value is true.
func (b *Batch) CompareAndSwap(key string, old, next []byte, opts ...SetOption) *BatchResult {
	call, err := compareCall(key, old, next, opts)
	return b.add(call, err)
}

// Delete adds a Delete.
func (b *Batch) Delete(key string) *BatchResult { return b.add(keyCall(transport.OpDelete, key), nil) }

// GetDelete adds a GetDelete.
func (b *Batch) GetDelete(key string) *BatchResult {
	call := keyCall(transport.OpDelete, key)
	call.Flags = transport.FlagReturnOld
	return b.add(call, nil)
}

// Expire adds an Expire.
func (b *Batch) Expire(key string, d time.Duration) *BatchResult { return b.expire(key, d, 0) }

// GetExpire adds a GetExpire.
func (b *Batch) GetExpire(key string, d time.Duration) *BatchResult {
	return b.expire(key, d, transport.FlagReturnOld)
}

func (b *Batch) expire(key string, d time.Duration, flags uint16) *BatchResult {
	call := keyCall(transport.OpExpire, key)
	ms, err := ttlMilli(key, d)
	call.Expiry, call.Flags = ms, flags|transport.FlagRelative
	return b.add(call, err)
}

// Persist adds a Persist.
func (b *Batch) Persist(key string) *BatchResult { return b.add(keyCall(transport.OpExpire, key), nil) }

// Incr adds an Incr.
func (b *Batch) Incr(key string, delta int64, opts ...IncrOption) *BatchResult {
	call, err := incrCall(key, delta, opts)
	return b.add(call, err)
}

// Do makes the calls and fills in their results. Calls on different keys run
// side by side, and those for one node travel together; calls on one key run
// in the order in which they were added: writes one behind the other where this node
// serves the key, all else when what comes before has its answer. Each is by itself:
// together they are not atomic, see Txn. A batch can be done once; what is added afterwards gets
// ErrInvalid.
//
// It returns the calls' errors joined, but for ErrNotFound, ErrConditionFailed
// and ErrVersionMismatch, which are answers; and ErrInvalid the second time.
func (b *Batch) Do(ctx context.Context) error {
	if b.done {
		return errBatchDone
	}
	b.done = true
	calls, at := b.calls, []int(nil)
	if slices.ContainsFunc(b.results, func(r *BatchResult) bool { return r.Err != nil }) {
		calls, at = nil, make([]int, 0, len(b.calls))
		for i, call := range b.calls {
			if b.results[i].Err == nil {
				calls, at = append(calls, call), append(at, i)
			}
		}
	}
	got, errs := b.c.n.DoInOrder(ctx, calls)
	for k := range got {
		i := k
		if at != nil {
			i = at[k]
		}
		b.results[i].take(&got[k], errs[k])
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
	if r.op != transport.OpIncr && r.op != transport.OpAppend {
		r.Int = 0
	}
	if err != nil {
		return
	}
	switch r.op {
	case transport.OpGet, transport.OpPeek:
		if r.Existed = got.Found; got.Found {
			r.Item = newItem(r.Key, *got)
		} else if r.op == transport.OpGet {
			r.Err = ErrNotFound
		}
	case transport.OpDelete:
		if r.Existed = got.Found; r.old && !got.Found {
			r.Err = ErrNotFound
		}
	case transport.OpSet:
		r.Existed = r.old && got.Found
	case transport.OpExpire:
		r.Existed = true
	}
	switch {
	case r.op == transport.OpPeek:
		r.Value = nil
	case r.old && r.Existed:
		r.Value = present(got.Value)
	}
}
