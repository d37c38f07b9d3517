package slotmesh

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/slotmesh/slotmesh/hashtag"
	"github.com/slotmesh/slotmesh/internal/node"
	"github.com/slotmesh/slotmesh/transport"
)

// Tx is a transaction under way: see Cache.Txn. It is for the goroutine that
// the function runs in, and its calls give ErrInvalid once that has returned.
//
// A call's error other than ErrNotFound, ErrConditionFailed and
// ErrVersionMismatch ends the transaction, also where the function goes on.
type Tx struct {
	c      *Cache
	ctx    context.Context
	slot   uint16
	reads  []txRead        // in the order they were read
	writes []node.TxnWrite // in the order their keys were first written
	size   int
	label  uint8
	err    error
	over   bool

	mayGuess bool // reads may be taken from a copy here, to be confirmed
	guessed  bool // some were, and are not yet

	// Most transactions have no more.
	someReads  [4]txRead
	someWrites [2]node.TxnWrite
}

type txRead struct {
	key  string
	res  node.Result
	bare bool // without the value
}

// version is 0 for an absent key.
func (r *txRead) version() uint64 {
	if !r.res.Found {
		return 0
	}
	return r.res.Version
}

// Txn runs f, whose reads and writes of keys in the slot of tag take effect
// together or not at all, as if nothing else ran meanwhile. tag is a hash tag,
// with or without its braces, or a key: Txn(ctx, "user:42", ...) works on
// "user:42", "{user:42}cart" and all others with that tag.
//
// Writes are kept here until f returns nil, and reads see them. Then one message
// commits: if a key that f read was written by others since, nothing happens and
// f runs again, after a random moment, up to a hundred times. So f must have no
// effects of its own. What it reads belongs together at every moment: a read
// that does not fit the earlier ones gives ErrConflict inside, and f runs again
// whatever it returns. An error of f is otherwise returned as it is and nothing
// is written.
//
// All copies of the slot get the writes as one unit; no crash leaves half of
// them. Where two sides of a cut cluster are merged, each key is decided by
// itself.
//
// Cost: a round trip for each call that reads, unless the slot is served here,
// and one for the commit; GetMany and ExistsMany read many keys in one. Where this
// node holds a backup of the slot f first reads there, for nothing; the commit, or a
// message of its own before anything else that f led to is returned, confirms that
// this was how the keys were. A transaction that wrote nothing otherwise commits for nothing.
//
// Errors, beside those of f: ErrCrossSlot, already from the call inside;
// ErrConflict, beside ctx's error where ctx ended amid conflicts; ErrTooLarge beyond 1024 keys read, or written, or where the writes
// together exceed the limit of one value; otherwise those of Set.
func (c *Cache) Txn(ctx context.Context, tag string, f func(tx *Tx) error) error {
	if f == nil {
		return fmt.Errorf("%w: Txn with a nil function", ErrInvalid)
	}
	var why error // the run before came to nothing
	for attempt := range maxAttempts {
		if err := jitter(ctx, attempt); err != nil {
			return amidConflicts(ctx, err, why, attempt)
		}
		tx := &Tx{c: c, ctx: ctx, slot: hashtag.Slot(tag)}
		tx.reads, tx.writes = tx.someReads[:0], tx.someWrites[:0]
		tx.mayGuess = attempt == 0 && c.guesses.may(tx.slot)
		err, again := tx.attempt(f)
		switch {
		case !again:
			return amidConflicts(ctx, err, why, attempt)
		case tx.guessed:
			c.guesses.missed(tx.slot)
		}
		why = err
	}
	return fmt.Errorf("%w; the transaction on %s was tried %d times", why, quoted(tag), maxAttempts)
}

// amidConflicts is err, or where that is a context's that has ended after attempts which
// came to nothing, both.
func amidConflicts(ctx context.Context, err, why error, attempts int) error {
	if err == nil || why == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) || errors.Is(err, ErrUnknownOutcome) {
		return err
	}
	return fmt.Errorf("%w, after %d attempts: %w", err, attempts, why)
}

// Why a transaction is run again.
var (
	errWritten    = fmt.Errorf("%w: what was read was written by others", ErrConflict)
	errAnswerLost = fmt.Errorf("%w: an answer was lost", ErrConflict)
)

func (tx *Tx) run(f func(*Tx) error) error {
	defer func() { tx.over = true }() // also where f panics
	return f(tx)
}

// attempt runs f once and commits; again says that it came to nothing, and err why. One
// that writes nothing saw its keys as they were together at its last read, unless
// that was guessed; then no more than that is confirmed, also where f failed.
func (tx *Tx) attempt(f func(*Tx) error) (err error, again bool) {
	err = tx.run(f)
	switch {
	case errors.Is(tx.err, ErrConflict):
		return tx.err, true
	case tx.err != nil:
		err = tx.err
	}
	var t node.Txn
	if err == nil {
		t.Writes = tx.writes
	}
	if len(t.Writes) == 0 && !tx.guessed {
		return err, false
	}
	switch _, refused := tx.send(&t); {
	case errors.Is(refused, ErrConflict):
		return refused, true
	case refused != nil:
		return refused, false
	}
	return err, false
}

// send has the primary do t if what was read so far still holds. Where it wrote nothing
// there is no outcome to be unknown: it is done again while there is time, and fails as
// reads do.
func (tx *Tx) send(t *node.Txn) (node.Result, error) {
	t.Checks = make([]node.TxnCheck, len(tx.reads))
	for i := range tx.reads {
		t.Checks[i] = node.TxnCheck{Key: tx.reads[i].key, Version: tx.reads[i].version()}
	}
	call := node.Call{Op: transport.OpTxn, Slot: tx.slot, Value: t.Pack(make([]byte, 0, tx.size+64))}
	r, err := tx.c.n.Do(tx.ctx, &call)
	switch {
	case errors.Is(err, ErrConflict):
		err = errWritten
	case len(t.Writes) > 0 || !errors.Is(err, ErrUnknownOutcome):
	case errors.Is(err, context.Canceled):
		err = context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("%w: %w", ErrNoPrimary, context.DeadlineExceeded)
	default:
		err = errAnswerLost
	}
	return r, err
}

// fail ends the transaction with err.
func (tx *Tx) fail(err error) error {
	if tx.err == nil {
		tx.err = err
	}
	return err
}

// check is what every call of the transaction begins with.
func (tx *Tx) check(keys ...string) error {
	switch {
	case tx.over:
		return fmt.Errorf("%w: the transaction is over", ErrInvalid)
	case tx.err != nil:
		return tx.err
	}
	if err := tx.ctx.Err(); err != nil {
		return tx.fail(err)
	}
	for _, key := range keys {
		if hashtag.Slot(key) != tx.slot {
			return tx.fail(fmt.Errorf("%w: %s is in slot %d, the transaction in %d", ErrCrossSlot, quoted(key), hashtag.Slot(key), tx.slot))
		}
		if !tx.c.n.Fits(key, 0) {
			return tx.fail(fmt.Errorf("%w: key %s of %d bytes", ErrTooLarge, quoted(key), len(key)))
		}
	}
	return nil
}

// guesses say where transactions had better not read from a backup: others write
// the same keys all the time.
type guesses [256]atomic.Uint32 // by slot: so many more transactions ask the primary

const afterMiss = 32

func (g *guesses) may(slot uint16) bool {
	left := &g[int(slot)%len(g)]
	n := left.Load()
	if n > 0 {
		left.CompareAndSwap(n, n-1)
	}
	return n == 0
}

func (g *guesses) missed(slot uint16) { g[int(slot)%len(g)].Store(afterMiss) }
